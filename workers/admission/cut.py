"""Cutting: whoever has lost the standing to be connected is disconnected, on every server, and stays out.

A sweep lists all outer connections and closes those that `lost_connection` names; it holds no state, so it can be repeated, and two
workers that sweep at once do no harm.  It runs when the worker starts, when a fact changes somebody's standing, and once more after the
server's authorization timeout, for connections that were being admitted on an older view while the first one looked.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from secrets import token_hex
from typing import Any, Protocol

import structlog

from schemas.facts import Agent, Kind, Person, Posture
from streams.facts import FactChange, FactsView
from streams.serverconf import AUTH_TIMEOUT_S
from workers.admission.connections import Connection, Unreachable
from workers.admission.recording import AdmissionRecord
from workers.admission.standing import TableFacts, lost_connection
from workers.common import log
from workers.common.recorder import RecordUnavailable

ECHO_S = AUTH_TIMEOUT_S + 0.5
RETRY_S = 0.5
_CAUSES = frozenset((Kind.POSTURE, Kind.AGENT, Kind.TOOL, Kind.PERSON))
logger = structlog.get_logger()


class Connections(Protocol):
    """See workers.admission.connections."""

    async def everyone(self, *, patient: bool) -> list[Connection]:
        """All outer connections.  Raises Unreachable."""

    async def kick(self, connection: Connection) -> bool:
        """Whether it was closed by us."""


class Handle(Protocol):
    """See workers.common.runtime.Runtime.handle."""

    def __call__(self, coro: Coroutine[Any, Any, Any], *, name: str) -> object:
        """Run it as a task that somebody owns."""


class Cutter:
    """`run` sweeps when it is told to, until it is cancelled."""

    def __init__(self, connections: Connections, facts: FactsView, record: AdmissionRecord, handle: Handle) -> None:
        """`handle` runs what nobody waits for, and owns it."""
        self._connections = connections
        self._facts = facts
        self._standing = TableFacts(facts.table)
        self._record = record
        self._handle = handle
        self._wanted = asyncio.Event()
        self._wanted.set()  # whoever lost their standing while nobody watched
        self._ordered: dict[str, str] = {}

    def on_change(self, change: FactChange) -> None:
        """A fact changed: sweep where it may have taken somebody's standing."""
        if change.kind in _CAUSES and self._takes_standing(change):
            self._wanted.set()

    def order(self, name: str, cause: str) -> None:
        """Close what has this name, now and once; it may come back where admission allows it."""
        self._ordered[name] = cause
        self._wanted.set()

    async def run(self) -> None:
        """Sweep at each want, and again after it."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self._sweep_until_done(patient=False)
            try:
                async with asyncio.timeout(ECHO_S):
                    await self._wanted.wait()
            except TimeoutError:
                await self._sweep_until_done(patient=True)

    async def _sweep_until_done(self, *, patient: bool) -> None:
        while True:
            try:
                await self.sweep(patient=patient)
            except Unreachable as error:
                logger.warning(log.CUT_FAILED, cause=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def sweep(self, *, patient: bool) -> int:
        """Close whoever has to leave; returns how many.  Raises Unreachable.

        The record comes after the act, and nothing waits for it: a full RECORD must not leave a quarantined agent connected.
        """
        ordered, self._ordered = self._ordered, {}
        try:
            found = await self._connections.everyone(patient=patient)
        except Unreachable:
            self._ordered = {**ordered, **self._ordered}
            raise
        causes = {connection: cause for connection in found if (cause := self._cause(connection, ordered)) is not None}
        closed = await asyncio.gather(*(self._connections.kick(connection) for connection in causes))
        cut = Counter((connection.name, causes[connection]) for connection, done in zip(causes, closed, strict=True) if done)
        if cut:
            self._handle(self._record_all(cut), name="record_cut")
        return cut.total()

    def _cause(self, connection: Connection, ordered: dict[str, str]) -> str | None:
        """A view that is not loaded knows nobody; then only orders count."""
        lost = lost_connection(connection.account, connection.name, self._standing) if self._facts.loaded else None
        return ordered.get(connection.name) if lost is None else f"{lost.reason}: {lost.detail}"

    async def _record_all(self, cut: Counter[tuple[str, str]]) -> None:
        sweep = token_hex(8)
        for (name, cause), connections in cut.items():
            logger.warning(log.CONNECTIONS_CUT, name=name, connections=connections, cause=cause)
            try:
                await self._record.cut(name, connections, cause, sweep)
            except RecordUnavailable:
                logger.warning(log.RECORD_FAILED, what="cut", name=name)

    def _takes_standing(self, change: FactChange) -> bool:
        """Whether what is true now may be less than before.  A tool may have moved to another workload; one cannot tell from here."""
        held = self._facts.table.get(change.kind, change.key)
        match None if held is None else held[1].body:
            case Posture() as posture:
                return posture.level == "quarantined"
            case Agent() | Person() as member:
                return member.state != "active"
            case _:
                return True
