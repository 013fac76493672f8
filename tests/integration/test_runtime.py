"""What every worker stands on, on a real server: the order of starting and stopping, what ends a worker, when its views may be believed."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from schemas import health
from streams.bus import event, parse
from streams.subjects import HEALTH
from workers.common.runtime import Runtime
from workers.revocation import app as revocation
from workers.supervisor import keeper as keepers
from workers.supervisor import life


class Clock:
    def __init__(self, ahead_s=0.0):
        import time

        self._time, self.ahead_s = time.time, ahead_s

    def now(self):
        return self._time() + self.ahead_s


async def ask_health(fabric_server, worker, **asked):
    edge = await fabric_server.worker("edge")
    answer = await edge.request(HEALTH.at(worker), event(health.ASKED, health.Asked(**asked), source="/test"), timeout=5)
    return parse(health.Health, answer.data).data


async def test_the_order_of_a_life(fabric_server):
    """Verifies that nobody reaches a worker before its views are loaded and `start` returned, nor after it began to stop."""
    runtime = Runtime("audit", fabric_server.settings, facts=True)
    told = []

    async def start():
        told.append(("start", runtime.facts.loaded, runtime.nc.is_connected, any(sub.running for sub in runtime.broker.subscribers)))

    async def stop():
        told.append(("stop", runtime.facts.loaded, runtime.nc.is_connected, runtime.in_flight))

    app = runtime.app(start=start, stop=stop)
    async with app.lifespan_context():
        await app.start()
        runtime.handle(asyncio.sleep(0.2))
        await app.stop()
    assert told == [("start", True, True, False), ("stop", True, True, 0)]
    assert runtime.nc.is_closed


async def test_a_worker_whose_views_are_not_loaded_in_time_does_not_start(fabric_server):
    """The deadline is a setting: what a million facts take depends on the machine."""
    runtime = Runtime("gateway", fabric_server.settings.model_copy(update={"load_deadline_s": 1e-6}), facts=True)
    app = runtime.app()
    with pytest.raises(TimeoutError):
        async with app.lifespan_context():
            pass
    assert runtime.nc.is_closed


async def test_health_is_the_worker_s_own_word_with_an_acknowledged_canary(fabric_server):
    runtime = Runtime("broker", fabric_server.settings, facts=True, canary=True)
    app = runtime.app()
    async with app.lifespan_context():
        await app.start()
        answer = await ask_health(fabric_server, "broker", canary=True)
        assert (answer.ready, answer.fresh, answer.recorded, answer.facts) == (True, True, True, len(fabric_server.keys))
        assert (await ask_health(fabric_server, "broker")).recorded is None
        await app.stop()


async def test_a_worker_that_may_not_record_is_not_ready(fabric_server, monkeypatch):
    """INVARIANT: a worker whose canary RECORD does not acknowledge is not ready, whatever else looks well.

    Answering the health question from the connection's state alone would break it.
    """
    monkeypatch.setattr("workers.common.health.RECORD", HEALTH)  # a subject that no stream captures: nobody acknowledges
    runtime = Runtime("broker", fabric_server.settings, canary=True)
    app = runtime.app()
    async with app.lifespan_context():
        await app.start()
        answer = await runtime.health(canary=True)
        assert (answer.ready, answer.recorded) == (False, False)
        await app.stop()


async def test_views_without_a_beacon_are_never_fresh(fabric_server):
    """INVARIANT: a worker that has heard no beacon, or none within the budget, does not believe its views.

    Counting a loaded view as fresh would break it: an isolated worker would go on granting what was revoked.
    """
    clock = Clock()
    runtime = Runtime("gateway", fabric_server.settings, facts=True, revocations=True, clock=clock)
    app = runtime.app()
    async with app.lifespan_context():
        await app.start()
        assert not runtime.views_fresh(clock.now())
        writer = revocation.build(fabric_server.settings)
        async with writer.lifespan_context():
            await writer.start()
            await asyncio.wait_for(runtime.wait_current(), 10)
            assert runtime.views_fresh(clock.now())
            clock.ahead_s = 10.0
            assert not runtime.views_fresh(clock.now())
            await writer.stop()
        await app.stop()


@pytest.mark.parametrize("how", ["connection", "task", "word"])
async def test_what_ends_a_worker(fabric_server, how):
    runtime = Runtime("audit", fabric_server.settings)

    async def fail():
        raise ValueError("SECRET")

    app = runtime.app()
    async with app.lifespan_context():
        await app.start()
        if how == "connection":
            await runtime.nc.close()
        elif how == "task":
            runtime.spawn(fail(), name="doomed")
        else:
            runtime.fail("tired")
        await asyncio.wait_for(app.ended.wait(), 5)
        await app.stop()


async def test_a_request_that_fails_ends_nobody(fabric_server, capfd):
    runtime = Runtime("audit", fabric_server.settings)

    async def fail():
        raise ValueError("SECRET")

    app = runtime.app()
    async with app.lifespan_context():
        await app.start()
        await asyncio.wait({runtime.handle(fail())})
        assert not app.ended.is_set()
        await app.stop()
    out, err = capfd.readouterr()
    assert "SECRET" not in out + err


async def test_a_worker_that_ends_is_built_anew(fabric_server, monkeypatch):
    built = asyncio.Queue()

    def build(settings):
        runtime = Runtime("audit", settings)
        app = runtime.app()
        built.put_nowait(runtime)
        return app

    monkeypatch.setattr(life, "build_of", lambda _: build)
    kept = keepers.InProcess("audit", 0, fabric_server.settings)
    keeping = asyncio.create_task(kept.keep())
    await asyncio.wait_for(kept.ready.wait(), 10)
    first = await built.get()
    await first.nc.close()
    second = await asyncio.wait_for(built.get(), 10)
    assert second is not first
    kept.stop()
    await asyncio.wait_for(keeping, 10)
    assert kept.restarts == 1


async def test_a_worker_that_cannot_start_can_still_be_stopped(fabric_server, monkeypatch):
    """A start that hangs (no server answers) must not keep the whole fabric from ending."""
    os.kill(fabric_server.server.pid, signal.SIGSTOP)
    try:
        monkeypatch.setattr(life, "build_of", lambda _: lambda settings: Runtime("audit", settings).app())
        kept = keepers.InProcess("audit", 0, fabric_server.settings)
        keeping = asyncio.create_task(kept.keep())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(kept.ready.wait(), 0.5)
        kept.stop()
        await asyncio.wait_for(keeping, 10)
    finally:
        os.kill(fabric_server.server.pid, signal.SIGCONT)
