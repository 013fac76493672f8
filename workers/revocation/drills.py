"""Drills, as the writer runs them: every so often, and when a revoker asks.

1. Live points and their tools; a canary of the broker's for each tool.  2. The canaries are shown; guards that accept theirs are armed.
3. The canary's instance is revoked, by an entry as any other.  4. Each guard's own verdict is heard, as the entry arrives there; whoever
has not refused is asked once more.  5. The report is on RECORD.  A guard that accepts what is revoked is not contained (`containment`);
one that refused is proven.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from secrets import token_bytes
from typing import Any
from uuid import uuid4

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NATSError
from weft.digest import sha256, target_digest

from schemas.commands import ANSWER, Answer
from schemas.drills import CANARY_MINTED, CANARY_WANTED, SHOWN, CanaryMinted, CanaryWanted, DrillReport, Run, Shown, Verdict
from schemas.facts import Person, Tool
from schemas.points import Failure
from schemas.reasons import DenyReason
from schemas.revocation import Target
from streams import subjects
from streams.bus import HEADERS, caller, event, parse
from streams.facts_table import FactsTable
from workers.common import log
from workers.common.asking import Unanswered, ask
from workers.common.clock import Clock
from workers.common.recorder import RecordUnavailable
from workers.common.roles import holds
from workers.common.rpc import Refused, answered, respond
from workers.revocation.causes import Cause
from workers.revocation.completion import Tracker
from workers.revocation.drilling import Drill
from workers.revocation.ports import Commits, Deposed
from workers.revocation.recording import SOURCE, Recording

MINT_S = 2.0
ARM_S = 1.5  # for every point to say that it accepts its canary
REFUSE_S = 4.0  # for every armed point to refuse it: longer than the budget of a strict tool
AGAIN_S = 1.0  # for whoever is asked once more
FORMS = ("txn", "resource")
logger = structlog.get_logger()


class Drills:
    """The writer's duty, and the one drill that runs."""

    def __init__(
        self,
        nc: Client,
        table: FactsTable,
        tracker: Tracker,
        recording: Recording,
        clock: Clock,
        *,
        every_s: int,
        root: str,
        accounts: Mapping[str, str],
        handle: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._nc = nc
        self._table = table
        self._tracker = tracker
        self._recording = recording
        self._clock = clock
        self._every_s = every_s
        self._root = root
        self._accounts = accounts
        self._handle = handle
        self._running: Drill | None = None
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        self.last: DrillReport | None = None

    def heard(self, point: str, verdict: Verdict) -> None:
        """A guard's verdict, by the name the server attested."""
        if self._running is not None and self._running.say(point, verdict, self._clock.now()):
            self._changed.set()

    def detail(self) -> dict[str, Any]:
        """The last drill, as health shows it."""
        last = self.last
        return {} if last is None else last.model_dump(include={"drill", "at", "passed", "p50_ms", "p99_ms", "last_ms"})

    async def serve(self, writer: Commits) -> None:
        """Until cancelled: on time, and on command."""

        async def on_command(msg: Msg) -> None:
            self._handle(self._answer(msg, writer))

        subscription = await self._nc.subscribe(subjects.DRILL.filter, queue="revocation", cb=on_command)
        try:
            while True:
                if self._every_s == 0:
                    await asyncio.Event().wait()
                await asyncio.sleep(self._every_s)
                try:
                    await self.run(writer, "schedule")
                except Exception as error:  # noqa: BLE001 - whatever it was, a drill must not cost the writer its role
                    logger.warning(log.DRILL_FAILED, error=type(error).__name__)
        finally:
            with suppress(NATSError):  # the connection is gone
                await subscription.unsubscribe()

    async def run(self, writer: Commits, by: str) -> DrillReport:
        """One drill.  Raises Deposed, RecordUnavailable."""
        async with self._lock:
            try:
                report = await self._run(writer, by)
            finally:
                self._running = None
            await self._recording.drilled(report)
            self.last = report
            say = logger.info if report.passed or not report.points else logger.error
            say(log.DRILL_ENDED, drill=report.drill, passed=report.passed, points=len(report.points), last_ms=report.last_ms)
            return report

    async def _run(self, writer: Commits, by: str) -> DrillReport:
        id_, now = uuid4().hex, int(self._clock.now())
        instance = "i" + base64.b32encode(token_bytes(17)).decode().lower().rstrip("=")[:26]
        served = self._served()  # 1
        canaries = {tool: token for tool in served if (token := await self._canary(id_, tool, instance)) is not None}
        skipped = tuple(sorted(served.keys() - canaries.keys()))
        expected = frozenset((point, tool) for tool in canaries for point in served[tool])
        drill = self._running = Drill(id_, by, now, expected, skipped)
        if not expected:
            return drill.report()
        await self._show(drill, canaries)  # 2
        await self._until(lambda: drill.all_answered, ARM_S)
        target = Target(kind="instance", digest=target_digest("instance", instance))
        cause = Cause(key=f"drill:{id_}", targets=(target,), names=(f"instance:{instance}",), reason="drill", by=by)
        committed = await writer.commit(cause)  # 3
        drill.revoked(committed.n, committed.at)
        await self._until(lambda: drill.all_refused, REFUSE_S)  # 4
        again = {tool: canaries[tool] for tool in drill.unrefused()}
        if again:
            await self._show(drill, again)
            await self._until(lambda: drill.all_refused, AGAIN_S)
        await self._recording.revoked(cause, committed)
        self._judge(drill)  # 5
        return drill.report()

    def _served(self) -> dict[str, tuple[str, ...]]:
        """Each tool that has live points, and those."""
        by_workload: dict[str, list[Tool]] = {}
        for tool in self._table.tools():
            if tool.state == "active":
                by_workload.setdefault(tool.workload, []).append(tool)
        served: dict[str, list[str]] = {}
        for point, _ in self._tracker.live():
            for tool in by_workload.get(str(subjects.parse_connection_name(point)[1]), ()):
                served.setdefault(tool.name, []).append(point)
        return {tool: tuple(points) for tool, points in served.items()}

    async def _canary(self, drill: str, tool: str, instance: str) -> str | None:
        record = self._table.tool(tool)
        if record is None or record.token_form not in FORMS:
            return None
        body = event(CANARY_WANTED, CanaryWanted(drill=drill, tool=tool, instance=instance), source=SOURCE)
        try:
            minted = await ask(self._nc, subjects.CANARY.at(), body, CANARY_MINTED, CanaryMinted, deadline_s=MINT_S)
        except Unanswered:
            return None
        return None if isinstance(minted, Failure) else minted.token

    async def _show(self, drill: Drill, canaries: Mapping[str, str]) -> None:
        for tool, token in canaries.items():
            body = event(SHOWN, Shown(drill=drill.id, tool=tool, token=token), source=SOURCE)
            await self._nc.publish(subjects.PUSH_DRILL.at(sha256(tool)), body, headers=HEADERS)

    async def _until(self, done: Callable[[], bool], within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    def _judge(self, drill: Drill) -> None:
        for point, proven in drill.verdicts().items():
            known = self._tracker.points.get(point)
            if proven:
                self._tracker.refused(point)
            elif known is not None:
                self._tracker.accepted(point, drill.n or 0, known.epoch, self._clock.now())

    async def _answer(self, msg: Msg, writer: Commits) -> None:
        async def answer() -> bytes:
            who = caller(msg.headers, msg.subject, self._accounts)
            parse(Run, msg.data)
            person: Person | None = self._table.person(who.name)
            if not holds(person, "revoker", self._root):
                raise Refused(DenyReason.NOT_AUTHORIZED, "takes the role of a revoker over the trust domain")
            try:
                report = await self.run(writer, who.name)
            except Deposed:
                raise Refused(DenyReason.DEADLINE_EXCEEDED, "another copy writes now: ask again") from None
            except RecordUnavailable:
                raise Refused(DenyReason.RECORD_UNAVAILABLE, "RECORD did not acknowledge") from None
            return event(ANSWER, Answer(rows=(report.plain(),)), source=SOURCE)

        await respond(self._nc, msg, await answered(answer, SOURCE))
