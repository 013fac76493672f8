"""The cutter: whom a sweep closes, when it sweeps, and that nothing waits for its record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from weft.digest import target_digest
from weft.nkey import KeyPair

from schemas.facts import Kind
from streams.facts_table import FactChange, FactsTable
from tests.support.actors import PERSON, agent, person, posture, tool, world
from tests.support.facts import put
from tests.support.identities import ADVISOR, INSTANCE
from workers.admission import cut
from workers.admission.connections import Connection, Unreachable
from workers.admission.cut import Cutter
from workers.admission.recording import AdmissionRecord
from workers.common.recorder import RecordUnavailable

ME = f"{INSTANCE}.88mph~com.agents.advisor"
SIBLING = f"i{'b' * 26}.88mph~com.agents.advisor"
POINT = f"{INSTANCE}.88mph~com.tools.payments"


class Server:
    """What is connected, and what was closed."""

    def __init__(self, *names: tuple[str, str]) -> None:
        self.connections = [Connection("N1", cid, account, name) for cid, (account, name) in enumerate(names)]
        self.swept = asyncio.Event()
        self.sweeps: list[bool] = []
        self.unreachable = 0

    async def everyone(self, *, patient: bool) -> list[Connection]:
        self.sweeps.append(patient)
        self.swept.set()
        if self.unreachable:
            self.unreachable -= 1
            raise Unreachable("no server answered")
        return list(self.connections)

    async def kick(self, connection: Connection) -> bool:
        if connection not in self.connections:
            return False
        self.connections.remove(connection)
        return True

    @property
    def names(self) -> set[str]:
        return {connection.name for connection in self.connections}


class View:
    def __init__(self, table: FactsTable) -> None:
        self.table = table
        self.loaded = True


class Recorded:
    def __init__(self) -> None:
        self.events: list[tuple[str, bytes]] = []
        self.fails = False

    async def record(self, subject: str, body: bytes, msg_id: str) -> int:
        if self.fails:
            raise RecordUnavailable
        self.events.append((subject, body))
        return len(self.events)


class Scene:
    def __init__(self, server: Server, table: FactsTable) -> None:
        self.server, self.view, self.recorded = server, View(table), Recorded()
        self.handled: list[asyncio.Task[Any]] = []
        record = AdmissionRecord(self.recorded, None, "copy")  # type: ignore[arg-type]  # no time passes
        self.cutter = Cutter(server, self.view, record, self.handle)  # type: ignore[arg-type]

    def handle(self, coro: Coroutine[Any, Any, Any], *, name: str) -> None:
        self.handled.append(asyncio.create_task(coro, name=name))

    async def sweep(self) -> int:
        count = await self.cutter.sweep(patient=False)
        await asyncio.gather(*self.handled)
        return count


def everyone() -> Server:
    return Server(("AGENTS", ME), ("AGENTS", SIBLING), ("POINTS", POINT), ("OPERATORS", PERSON.public))


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        (posture("instance", "i" + "b" * 26), {SIBLING}),
        (posture("instance", INSTANCE), {ME, POINT}),
        (posture("agent", ADVISOR), {ME, SIBLING}),
        (posture("namespace", "spiffe://88mph.com/agents"), {ME, SIBLING}),
        (posture("namespace", "spiffe://88mph.com"), {ME, SIBLING, POINT}),
        (posture("agent", ADVISOR, "narrowed"), set()),
        (agent(state="suspended"), {ME, SIBLING}),
        (tool(state="retired"), {POINT}),
        (tool(workload=ADVISOR), {POINT}),
        (person(state="retired"), {PERSON.public}),
    ],
    ids=lambda one: f"{one['kind']}-{one.get('scope') or one.get('state') or 'changed'}" if isinstance(one, dict) else str(len(one)),
)
async def test_whom_a_sweep_closes(change: dict[str, Any], gone: set[str]) -> None:
    scene = Scene(everyone(), put(world(), change))
    before = scene.server.names
    assert await scene.sweep() == len(gone)
    assert scene.server.names == before - gone
    assert len(scene.recorded.events) == len(gone)


async def test_what_admission_never_named_is_closed() -> None:
    scene = Scene(Server(("AGENTS", ""), ("POINTS", "me"), ("OPERATORS", KeyPair("U").public)), world())
    assert await scene.sweep() == 3


async def test_an_order_closes_once() -> None:
    scene = Scene(everyone(), world())
    scene.cutter.order(ME, "limits")
    assert await scene.sweep() == 1
    scene.server.connections.append(Connection("N1", 99, "AGENTS", ME))
    assert await scene.sweep() == 0
    assert b"limits" in scene.recorded.events[0][1]


async def test_an_order_outlives_an_unreachable_server() -> None:
    scene = Scene(everyone(), world())
    scene.server.unreachable = 1
    scene.cutter.order(ME, "limits")
    with pytest.raises(Unreachable):
        await scene.sweep()
    assert await scene.sweep() == 1


async def test_a_view_that_is_not_loaded_closes_nobody_but_by_order() -> None:
    scene = Scene(everyone(), FactsTable())
    scene.view.loaded = False
    assert await scene.sweep() == 0
    scene.cutter.order(ME, "limits")
    assert await scene.sweep() == 1


async def test_a_full_record_keeps_nobody_connected() -> None:
    """INVARIANT: cutting does not wait for RECORD.

    Recording first, as elsewhere, would leave a quarantined agent connected for as long as RECORD takes nothing.
    """
    scene = Scene(everyone(), put(world(), posture("agent", ADVISOR)))
    scene.recorded.fails = True
    assert await scene.sweep() == 2
    assert ME not in scene.server.names


@pytest.fixture
async def running(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(cut, "ECHO_S", 0.05)
    monkeypatch.setattr(cut, "RETRY_S", 0.01)
    scene = Scene(everyone(), world())
    task = asyncio.create_task(scene.cutter.run())
    yield scene
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def sweeps(scene: Scene, count: int) -> list[bool]:
    async with asyncio.timeout(5):
        while len(scene.server.sweeps) < count:
            scene.server.swept.clear()
            await scene.server.swept.wait()
    return scene.server.sweeps


async def test_it_sweeps_at_the_start_and_again_for_who_was_in_between(running: Scene) -> None:
    assert await sweeps(running, 2) == [False, True]


def change(scene: Scene, fact: dict[str, Any], kind: Kind, key: str) -> None:
    put(scene.view.table, fact)
    scene.cutter.on_change(FactChange(scene.view.table.revision, kind, key))


async def test_a_quarantine_is_swept_for_and_a_narrowing_is_not(running: Scene) -> None:
    await sweeps(running, 2)
    key = f"agent.{target_digest('agent', ADVISOR)}"
    change(running, posture("agent", ADVISOR, "narrowed"), Kind.POSTURE, key)
    change(running, agent(version="2"), Kind.AGENT, "88mph~com.agents.advisor")
    assert not running.cutter._wanted.is_set()
    change(running, posture("agent", ADVISOR), Kind.POSTURE, key)
    assert (await sweeps(running, 4))[2:] == [False, True]
    assert running.server.names == {POINT, PERSON.public}


async def test_it_goes_on_until_a_server_answers(running: Scene) -> None:
    await sweeps(running, 2)
    running.server.unreachable = 2
    change(running, agent(state="retired"), Kind.AGENT, "88mph~com.agents.advisor")
    assert (await sweeps(running, 6))[2:] == [False, False, False, True]
    assert running.server.names == {POINT, PERSON.public}
