"""The broker's subject.

Requests that came together are served side by side, each within the deadline that it names and that we allow.  Refusals are recorded
before they are answered; one that cannot be recorded is answered `record_unavailable`.
"""

from __future__ import annotations

import asyncio
from uuid import uuid4

from nats.aio.msg import Msg

from schemas.decision import Decision, DecisionInput
from schemas.minting import MintAnswer, MintRequest
from schemas.reasons import DenyReason
from schemas.record import DENIED, Denied
from streams.bus import HEADERS, Malformed, event
from streams.subjects import RECORD, parse_connection_name
from workers.broker.mint import SOURCE, Mint, NotAllowed
from workers.common import log
from workers.common.identity import IdentityRefused
from workers.common.minting import answers_event, read_requests
from workers.common.recorder import Recorder, RecordUnavailable
from workers.common.requests import RequestRefused
from workers.common.runtime import Runtime

MAX_DEADLINE_S = 5.0  # whatever a gateway names
DENIAL_S = 0.5  # to record a refusal, beyond the deadline at the latest


class Handlers:
    """Between the bus and the mint."""

    def __init__(self, runtime: Runtime, mint: Mint, recorder: Recorder) -> None:
        self._runtime = runtime
        self._mint = mint
        self._recorder = recorder

    async def on_mint(self, msg: Msg) -> None:
        """A gateway asks.  Where nobody waits for the answer, nothing is minted."""
        if msg.reply:
            self._runtime.handle(self._serve(msg), name="mint")

    async def _serve(self, msg: Msg) -> None:
        await self._runtime.nc.publish(msg.reply, await self.answer(msg.data), headers=HEADERS)

    async def answer(self, body: bytes) -> bytes:
        """An answer for each request of a message; never raises."""
        try:
            asked = read_requests(body)
        except Malformed:
            asked = [None]
        if len(asked) == 1:
            return answers_event([await self._surely(asked[0])], SOURCE)
        outcomes = await asyncio.gather(*map(self._surely, asked), return_exceptions=True)
        return answers_event(map(self._of, outcomes), SOURCE)

    async def _surely(self, mint: MintRequest | None) -> MintAnswer:
        """One member's bug, in its refusal say, is that member's: it is told so, and keeps no other from its answer."""
        try:
            return await self._answer(mint)
        except Exception as error:  # noqa: BLE001 - promise 7
            return self._of(error)

    def _of(self, outcome: MintAnswer | BaseException) -> MintAnswer:
        if isinstance(outcome, MintAnswer):
            return outcome
        self._runtime.log.error(log.REQUEST_FAILED, error=type(outcome).__name__)
        return MintAnswer(refused=DenyReason.INTERNAL)

    async def _answer(self, mint: MintRequest | None) -> MintAnswer:
        """Granted or refused."""
        if mint is None:
            return MintAnswer(refused=DenyReason.MALFORMED)
        try:
            return await self._mint_in_time(mint)
        except Exception as error:  # noqa: BLE001 - promise 7: a bug denies; a traceback may hold the input
            self._runtime.log.error(log.REQUEST_FAILED, error=type(error).__name__)  # noqa: TRY400
            return await self._refuse(mint, DenyReason.INTERNAL, detail=type(error).__name__)

    async def _mint_in_time(self, mint: MintRequest) -> MintAnswer:
        try:
            async with asyncio.timeout(min(MAX_DEADLINE_S, mint.deadline - self._runtime.clock.now())):
                return MintAnswer(granted=await self._mint.grant(mint))
        except TimeoutError:
            return await self._refuse(mint, DenyReason.DEADLINE_EXCEEDED)
        except RecordUnavailable:
            return MintAnswer(refused=DenyReason.RECORD_UNAVAILABLE)
        except NotAllowed as refused:
            return await self._refuse(mint, refused.reason, asked=refused.asked, decision=refused.decision)
        except (RequestRefused, IdentityRefused) as refused:
            return await self._refuse(mint, refused.reason, detail=refused.detail)

    async def _refuse(
        self,
        mint: MintRequest,
        reason: DenyReason,
        *,
        detail: str | None = None,
        asked: DecisionInput | None = None,
        decision: Decision | None = None,
    ) -> MintAnswer:
        """Record the refusal, then answer it.  Its id is fresh: it must not stand in the way of a later grant of the same request."""
        parent = asked.parent if asked is not None else None
        denied = Denied(
            by="broker",
            reason=reason,
            input=asked,
            decision=decision if decision is not None else mint.decision,
            explanation=mint.explanation,
            caller=mint.caller,
            detail=detail,
            txn=parent.txn if parent is not None else None,
        )
        msg_id = f"broker:denied:{uuid4().hex}"
        body = event(DENIED, denied, source=SOURCE, id=msg_id)
        try:
            async with asyncio.timeout(max(DENIAL_S, mint.deadline - self._runtime.clock.now())):
                await self._recorder.record(RECORD.at("broker", "denied", _who(mint.caller)), body, msg_id)
        except (RecordUnavailable, TimeoutError):
            return MintAnswer(refused=DenyReason.RECORD_UNAVAILABLE)
        return MintAnswer(refused=reason, needs=decision.needs if decision is not None else None)


def _who(name: str) -> str:
    """The SPIFFE ID's subject of a name that only the gateway vouches for."""
    try:
        return parse_connection_name(name)[1].subject
    except ValueError:
        return "unknown"
