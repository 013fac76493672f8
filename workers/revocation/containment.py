"""Points that are not contained become facts, so that every gateway and broker decides by them, and an alarm on RECORD.

The writer alone does it.  What is to be written follows from what stands on FACTS and what was heard (`due`, pure); a write names the
fact's revision, so that two copies in a takeover never undo one another.  Whoever falls silent past its budget refuses by itself: a
point that is gone does not keep its tool from being called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

import structlog
from weft.spiffeid import InvalidSpiffeID

from schemas import facts
from schemas.facts import FACT, Fact, Kind
from schemas.record import Uncontained
from streams.bus import PublishConflict, Publisher, PublishFailed, event
from streams.facts_keys import subject_of
from streams.facts_table import FactsTable
from streams.subjects import parse_connection_name
from workers.common import log
from workers.common.clock import Clock
from workers.common.recorder import RecordUnavailable
from workers.revocation.completion import GRACE_S, LIVE_S, Late, Point, Tracker
from workers.revocation.ports import Commits
from workers.revocation.recording import SOURCE, Recording

WATCH_S = 2 * LIVE_S + GRACE_S  # longer than any budget: whoever has not spoken for so long refuses by itself
EVERY_S = 1.0  # at least; what FACTS refused is tried again
Ended = Literal["answered", "silent"]
Why = Literal["not_applied", "accepted"]
NOT_APPLIED: Why = "not_applied"
logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Due:
    """One fact to write: that a point is late, or (`ended`) that it is no longer."""

    point: str
    late: Late | None
    ended: Ended | None = None


def due(standing: Mapping[str, facts.Point | None], tracker: Tracker, watched_s: float) -> tuple[Due, ...]:
    """`standing` is what FACTS says; none: it cannot be read.  A copy that has not watched for long clears nobody for silence."""
    found = [Due(name, late) for name, late in tracker.late.items() if not _says(standing.get(name), late)]
    for name, fact in standing.items():
        if name in tracker.late:
            continue
        ended = _ended(fact, tracker.points.get(name), watched_s, proven=name in tracker.proven)
        if ended is not None:
            found.append(Due(name, None, ended))
    return tuple(found)


def _says(fact: facts.Point | None, late: Late) -> bool:
    return fact is not None and (fact.n, fact.why) == (late.n, late.why)


def _ended(fact: facts.Point | None, heard: Point | None, watched_s: float, *, proven: bool) -> Ended | None:
    """Of a point that this copy does not know to be late; perhaps a predecessor of this copy did."""
    if heard is None:
        return "silent" if watched_s > WATCH_S else None
    if fact is not None and fact.why == "accepted":
        return "answered" if proven else None
    return "answered" if fact is None or heard.n >= fact.n else None


class Containment:
    """The writer's duty."""

    def __init__(self, table: FactsTable, tracker: Tracker, publisher: Publisher, recording: Recording, clock: Clock) -> None:
        self._table = table
        self._tracker = tracker
        self._publisher = publisher
        self._recording = recording
        self._clock = clock
        self._since = clock.now()
        self._changed = asyncio.Event()
        self._written: dict[str, int] = {}  # facts that our own view may not know yet
        self._unsaid: list[tuple[Uncontained, int]] = []  # alarms that RECORD has not acknowledged

    def changed(self) -> None:
        """A point spoke, or an entry was closed."""
        self._changed.set()

    def standing(self) -> dict[str, facts.Point | None]:
        """The points that FACTS calls uncontained."""
        return {
            point if isinstance(point, str) else point.name: None if isinstance(point, str) else point
            for point in self._table.uncontained()
        }

    async def serve(self, _: Commits) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            for one in self._due():
                await self._carry_out(one)
            await self._say()
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _due(self) -> tuple[Due, ...]:
        self._written = {name: seq for name, seq in self._written.items() if self._table.revision_of(Kind.POINT, name) < seq}
        found = due(self.standing(), self._tracker, self._clock.now() - self._since)
        return tuple(one for one in found if one.point not in self._written)

    async def _carry_out(self, one: Due) -> None:
        """The fact first; what FACTS refuses is due again."""
        said = self._said(one, self.standing().get(one.point))
        if said is None:
            return
        try:
            revision = await self._write(one.point, self._fact(one))
        except (PublishConflict, PublishFailed) as error:
            logger.warning(log.CONTAINMENT_FAILED, point=one.point, error=type(error).__name__)
            return
        self._written[one.point] = revision
        self._unsaid.append((said, revision))
        if one.late is not None:
            logger.error(log.POINT_UNCONTAINED, point=one.point, n=one.late.n, why=one.late.why)
        else:
            logger.info(log.POINT_CONTAINED, point=one.point, ended=one.ended)

    def _fact(self, one: Due) -> facts.Point | None:
        late, workload = one.late, _workload(one.point)
        if late is None or workload is None:
            return None
        return facts.Point(name=one.point, workload=workload, n=late.n, why=late.why, since=int(late.since))

    async def _write(self, name: str, body: facts.Point | None) -> int:
        fact = Fact(kind=Kind.POINT, key=name, body=body, by="revocation")
        ack = await self._publisher.publish(
            "FACTS",
            subject_of(Kind.POINT, name),
            event(FACT, fact, source=SOURCE),
            msg_id=f"revocation:point:{uuid4().hex}",
            expected_last_subject_seq=self._table.revision_of(Kind.POINT, name),
        )
        return ack.seq

    async def _say(self) -> None:
        while self._unsaid:
            try:
                await self._recording.uncontained(*self._unsaid[0])
            except RecordUnavailable:
                logger.warning(log.RECORD_FAILED, what="uncontained", point=self._unsaid[0][0].point)
                return
            del self._unsaid[0]

    def _said(self, one: Due, was: facts.Point | None) -> Uncontained | None:
        workload = _workload(one.point)
        if workload is None:  # the server attests names that admission made; one that is none has no tool to refuse
            return None
        n, why = (one.late.n, one.late.why) if one.late is not None else (was.n, was.why) if was is not None else (0, NOT_APPLIED)
        tools = tuple(tool.name for tool in self._table.tools() if tool.workload == workload)
        return Uncontained(point=one.point, agent=workload, n=n, why=why, tools=tools, ended=one.ended)


def _workload(point: str) -> str | None:
    try:
        return str(parse_connection_name(point)[1])
    except InvalidSpiffeID:
        return None
