"""The gateway's subjects.  Each message is limited in the callback, before anything of it is read, and served in a task of its own.

What cannot be answered, because nobody waits, is not decided either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from uuid import uuid4

from nats.aio.msg import Msg

from schemas.commands import CUT_ORDERED, CutOrder
from schemas.invocation import APPROVAL_ASKED, TOOLS_ASKED, ApprovalAsked, ToolsAsked
from schemas.reasons import DenyReason
from schemas.record import LIMITED, Limited
from streams.bus import HEADERS, CallerUnknown, Malformed, caller, event, parse
from streams.subjects import CUT, RECORD
from workers.common import log
from workers.common.recorder import Recorder, RecordUnavailable
from workers.common.runtime import Runtime
from workers.gateway import answers
from workers.gateway.enforce import Gateway
from workers.gateway.limits import Excess, Limits
from workers.gateway.stepping import NotAsked, Stepping

RETRY_AFTER_S = 1.0

Serve = Callable[[str, bytes, float], Awaitable[bytes]]


class Handlers:
    """Between the bus and the gateway."""

    def __init__(
        self,
        runtime: Runtime,
        gateway: Gateway,
        stepping: Stepping,
        *,
        limits: Limits,
        recorder: Recorder,
        accounts: Mapping[str, str],
    ) -> None:
        self._runtime = runtime
        self._gateway = gateway
        self._stepping = stepping
        self._limits = limits
        self._recorder = recorder
        self._accounts = accounts
        self._limited: tuple[int, dict[DenyReason, bytes]] = (0, {})

    async def on_invoke(self, msg: Msg) -> None:
        """An invocation."""
        await self._admit(msg, self._gateway.invoke)

    async def on_tools(self, msg: Msg) -> None:
        """What may I call?"""
        await self._admit(msg, self._tools)

    async def _tools(self, name: str, body: bytes, now: float) -> bytes:
        try:
            asked = parse(ToolsAsked, body)
        except Malformed:
            asked = None
        if asked is None or asked.type != TOOLS_ASKED:
            return answers.refused(DenyReason.MALFORMED, uuid4().hex)
        return self._gateway.tools(name, now)

    async def on_approval(self, msg: Msg) -> None:
        """What became of an approval?"""
        await self._admit(msg, self._approval)

    async def _approval(self, name: str, body: bytes, _: float) -> bytes:
        try:
            asked = parse(ApprovalAsked, body)
        except Malformed:
            asked = None
        if asked is None or asked.type != APPROVAL_ASKED:
            return answers.refused(DenyReason.MALFORMED, uuid4().hex)
        try:
            state = await self._stepping.state(name, asked.data)
        except NotAsked as error:
            return answers.refused(error.reason, uuid4().hex)
        return answers.refused(DenyReason.NOT_FOUND, uuid4().hex) if state is None else answers.told_approval(state)

    async def _admit(self, msg: Msg, serve: Serve) -> None:
        if not msg.reply:
            return
        now = self._runtime.clock.now()
        try:
            name = caller(msg.headers, msg.subject, self._accounts).name
        except CallerUnknown:
            await self._answer(msg, answers.refused(DenyReason.CALLER_UNKNOWN, uuid4().hex))
            return
        over = self._limits.admit(name, now)
        if over is None:
            self._runtime.handle(self._serve(msg, name, now, serve), name="invocation")
        else:
            await self._answer(msg, self._over(over, int(now)))

    async def _serve(self, msg: Msg, name: str, now: float, serve: Serve) -> None:
        try:
            answer = await serve(name, msg.data, now)
        except Exception as error:  # noqa: BLE001 - promise 7: a bug is a typed refusal; the text of the error may hold the input
            self._runtime.log.error(log.REQUEST_FAILED, error=type(error).__name__)  # noqa: TRY400 - a traceback may hold the input
            answer = answers.refused(DenyReason.INTERNAL, uuid4().hex)
        finally:
            self._limits.leave(name)
        await self._answer(msg, answer)

    async def _answer(self, msg: Msg, body: bytes) -> None:
        await self._runtime.nc.publish(msg.reply, body, headers=HEADERS)

    def _over(self, reason: DenyReason, second: int) -> bytes:
        """The answer, made once a second."""
        if self._limited[0] != second:
            self._limited = (second, {})
        made = self._limited[1]
        if reason not in made:
            made[reason] = answers.limited(reason, second, RETRY_AFTER_S)
        return made[reason]

    # --- once a second --------------------------------------------------------------------------------------------------------

    async def summarise_every_second(self) -> None:
        """For the worker's life."""
        while True:
            await asyncio.sleep(1.0)
            self.summarise()

    def summarise(self) -> None:
        """One record for each caller that was over its limits in the last second; an order to cut who does not stop."""
        now = self._runtime.clock.now()
        for excess in self._limits.close_second(now):
            self._runtime.handle(self._told(excess, int(now)), name="limited")

    async def _told(self, excess: Excess, second: int) -> None:
        if excess.cut:
            self._runtime.log.warning(log.CALLER_CUT, count=excess.count)
            order = CutOrder(name=excess.caller, cause="limits")
            await self._runtime.nc.publish(CUT.at(), event(CUT_ORDERED, order, source=answers.SOURCE), headers=HEADERS)
        body = event(LIMITED, Limited(caller=excess.caller, count=excess.count, second=second), source=answers.SOURCE)
        try:
            await self._recorder.record(RECORD.at("gateway", "limited", excess.caller.partition(".")[2]), body, f"gateway:{uuid4().hex}")
        except RecordUnavailable:
            self._runtime.log.warning(log.RECORD_FAILED, what="limited")
