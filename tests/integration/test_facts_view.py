"""The facts view against a real server: loading, following, gaps, restarts, and a stream that is not the one it was."""

import asyncio
from typing import Any

import pytest

from schemas.facts import Kind
from streams import topology
from streams.bus import Outgoing, Publisher
from streams.facts import FactsView, LoadFailed
from streams.facts_table import FactChange
from tests.support.fabric import FabricServer, fabric_key
from tests.support.facts import body, message

TEAM = "team:refunds"


def relation(who: str) -> dict[str, Any]:
    return {"kind": "relation", "subject": f"user:{who}", "relation": "member_of", "object": TEAM}


async def view_of(fabric: FabricServer, **options: Any) -> FactsView:
    view = FactsView(await fabric.worker("gateway", allow_reconnect=True, reconnect_time_wait=0.05), worker="gateway", **options)
    await view.start(10)
    return view


async def write_many(fabric: FabricServer, count: int) -> int:
    nc = await fabric.worker("topology", **fabric_key(fabric.settings))
    publisher, seq = Publisher(nc), 0
    for start in range(0, count, 500):
        batch = [message(relation(f"u{n}")) for n in range(start, min(start + 500, count))]
        ack = await publisher.publish_batch("FACTS", [Outgoing(subject, raw, msg_id=f"m{subject}") for subject, raw in batch])
        seq = ack.seq
    await nc.close()
    return seq


async def consumers(fabric: FabricServer) -> list[str]:
    nc = await fabric.worker("topology", **fabric_key(fabric.settings))
    names = [info.name for info in await nc.jetstream().consumers_info("FACTS")]
    await nc.close()
    return names


async def test_it_loads_what_is_there_and_leaves_no_consumer(fabric_server: FabricServer) -> None:
    last = await write_many(fabric_server, 3000)
    view = await view_of(fabric_server)
    try:
        assert view.loaded
        assert view.revision == last
        assert view.table.relation_count() == 3000
        assert {key.purpose for key in view.keys(None)} == {"tokens", "revocation", "signals", "signals-rs256", "svid", "status"}
        assert not [name for name in await consumers(fabric_server) if "view" in name]
    finally:
        await view.stop()
    assert not view.loaded


async def test_it_follows_and_tells(fabric_server: FabricServer) -> None:
    view = await view_of(fabric_server)
    changes: list[FactChange] = []

    def broken(_: FactChange) -> None:
        raise RuntimeError("a listener's own trouble")

    view.on_change(broken)
    view.on_change(changes.append)
    try:
        ack = await fabric_server.put_facts(body(relation("marty")), body(relation("doc")))
        assert await view.wait_for(ack.seq, 5)
        assert view.revision == ack.seq
        assert [change.kind for change in changes] == [Kind.RELATION, Kind.RELATION]
        assert len(view.table.relations_to(TEAM)) == 2
        assert not await view.wait_for(ack.seq + 1, 0.05)
    finally:
        await view.stop()


async def test_a_view_whose_worker_may_not_read_the_facts_does_not_start(fabric_server: FabricServer) -> None:
    view = FactsView(await fabric_server.outer("operator", "U" * 56))
    with pytest.raises((LoadFailed, TimeoutError)):
        await view.start(1)
    assert not view.loaded
    assert not await view.wait_for(1, 0.1)


async def test_it_recovers_what_it_missed_while_the_server_was_gone(fabric_server: FabricServer) -> None:
    """INVARIANT: a view that was cut off does not read as loaded again before it has asked what stream it follows, and then holds all.

    It would break if a reconnected view waited for the next event to learn that it had missed one.
    """
    view = await view_of(fabric_server)
    nc = view._nc
    try:
        cut = asyncio.Event()
        nc._disconnected_cb = _setter(cut)
        await fabric_server.server.stop()
        await asyncio.wait_for(cut.wait(), 5)
        await fabric_server.server.start()
        ack = await fabric_server.put_facts(body(relation("marty")))
        async with asyncio.timeout(10):
            while not nc.is_connected:  # noqa: ASYNC110 - nats-py has no event for a test to wait on
                await asyncio.sleep(0.02)
        view.check()
        assert not view.loaded
        assert await view.wait_for(ack.seq, 5)
        async with asyncio.timeout(5):
            assert view._check is not None
            await view._check
        assert view.loaded
    finally:
        await view.stop()


async def test_a_beacon_that_names_a_later_head_makes_it_fetch(fabric_server: FabricServer) -> None:
    view = await view_of(fabric_server)
    try:
        assert view._feed is not None
        await view._feed._unsubscribe()  # deaf
        ack = await fabric_server.put_facts(body(relation("marty")))
        assert view.revision < ack.seq
        view.note_head(ack.seq)
        async with asyncio.timeout(5):
            assert await view._feed._applied.reached(ack.seq, 5)
    finally:
        await view.stop()


@pytest.mark.parametrize("facts_after", [0, 12])
async def test_a_restored_backup_is_refused(fabric_server: FabricServer, facts_after: int) -> None:
    """INVARIANT: where the sequence of FACTS goes backwards, or the stream is another one, the view is lost and says so.

    It would break if a view compared sequences alone: a restored stream soon grows past the old revision with other facts in it.
    """
    lost = asyncio.Event()
    view = await view_of(fabric_server, on_lost=lost.set)
    nc = await fabric_server.worker("topology", **fabric_key(fabric_server.settings))
    try:
        view.note_head(view.revision)
        await nc.jetstream().delete_stream("FACTS")
        await topology.apply(nc.jetstream(), 1, record_max_bytes=fabric_server.settings.record_max_bytes)
        if facts_after:
            await fabric_server.put_facts(*(body(relation(f"u{n}")) for n in range(facts_after)))
        view.note_head(1)
        assert not view.loaded
        await asyncio.wait_for(lost.wait(), 5)
        assert not view.loaded
        assert not await view.wait_for(1, 0.1)
    finally:
        await nc.close()
        await view.stop()


def _setter(event: asyncio.Event) -> Any:
    async def on_disconnect() -> None:
        event.set()

    return on_disconnect
