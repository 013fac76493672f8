"""One call's way through the gateway (design 4, steps 2 to 5).

1. Read the message.  2. Who calls: the SVID, which names the attested connection and the key that the request says it is signed with.
3. What the parent token and the person's token are worth.  4. The decision.  5. A refusal is recorded, then answered.  6. For an Allow the
broker is asked, within the deadline.  7. Its answer is the agent's.

Limits come before all of it and are the handler's.  NOT checked here: the request's signature, and that its payload names no member
twice.  The connection is attested, the broker checks both before anything is released, and a second check of the signature would
cost more than all gates together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from secrets import token_hex

from weft.digest import sha256

from config.settings import Settings
from schemas.decision import Caller, Decision, DecisionInput, Gate, GateLine
from schemas.invocation import InvocationRequest, ToolList
from schemas.minting import MintRequest
from schemas.reasons import DenyReason
from schemas.record import DENIED, Denied
from streams.bus import event
from streams.subjects import RECORD, parse_connection_name
from workers.common.approvals import ask_of
from workers.common.clock import Clock
from workers.common.decision import callable_tools, decide, human_of, with_lines
from workers.common.decision.standing import ORDER
from workers.common.derived import Derived
from workers.common.identity import IdentityRefused
from workers.common.intake import Circumstances, Invocation, decision_input, read_invocation
from workers.common.recorder import RecordUnavailable
from workers.common.requests import RequestRefused, parse_invocation
from workers.common.verification import Verifier
from workers.gateway import answers
from workers.gateway.listing import Listings
from workers.gateway.ports import Broker, BrokerUnavailable, Record, Views
from workers.gateway.stepping import Offer, Stepping

DEADLINE_S = 4.0  # from receipt, for the broker
ANSWER_S = 4.8  # from receipt, for an answer of ours, recorded or not; an agent waits 5 s, and the answer has to travel
OFFER_S = 2.0  # for a person to be asked
PASSED = (GateLine(gate=Gate.LIMITS, passed=True), GateLine(gate=Gate.IDENTITY, passed=True))

_passed = Derived(lambda decision: with_lines(PASSED, decision))
_told = Derived(lambda decision: decision.model_copy(update={"lines": PASSED}))  # the broker asks the other gates itself

Explanations = Callable[[], str]


class Gateway:
    """Decides and asks; holds nothing."""

    def __init__(
        self,
        *,
        views: Views,
        stepping: Stepping,
        verifier: Verifier,
        broker: Broker,
        record: Record,
        clock: Clock,
        settings: Settings,
        explanations: Explanations = lambda: token_hex(16),
    ) -> None:
        self._views = views
        self._stepping = stepping
        self._verifier = verifier
        self._broker = broker
        self._record = record
        self._clock = clock
        self._settings = settings
        self._explanations = explanations
        self._listings = Listings()

    async def invoke(self, name: str, body: bytes, received_at: float) -> bytes:
        """The answer to a message of the connection of that name."""
        call = _Call(name, self._explanations(), received_at)
        try:
            asked = parse_invocation(body)  # 1
            call.traceparent = asked.traceparent
            call.read(read_invocation(asked.data, name, self._verifier, received_at, members_once=False))  # 2
            decision = self._decide(call)  # 3, 4
            if decision:
                return await self._ask_broker(call, asked.data, decision)  # 6, 7
        except (RequestRefused, IdentityRefused) as refused:
            return await self._refuse(call, refused.reason, refused.detail)  # 5
        except BrokerUnavailable:
            return await self._refuse(call, DenyReason.BROKER_UNAVAILABLE)
        except Exception as error:  # noqa: BLE001 - promise 7: a bug denies; the text of the error may hold the input
            return await self._refuse(call, DenyReason.INTERNAL, type(error).__name__)
        await self._offer(call, asked.data.intent, decision.needs)
        return await self._refuse(call, decision.reason or DenyReason.INTERNAL, call.offer.detail if call.offer else None)  # 5

    def tools(self, name: str, now: float) -> bytes:
        """What the agent of that connection may call now."""
        facts, environment = self._views.facts, self._settings.environment
        if not self._views.fresh(now):
            return answers.listed(ToolList(tools=(), facts_revision=facts.revision))

        def find() -> ToolList:
            lines = callable_tools(_named(name, now), facts, now=int(now), environment=environment)
            return ToolList(tools=lines, facts_revision=facts.revision)

        return answers.listed(self._listings.of(name, facts.revision, now, find))

    def _decide(self, call: _Call) -> Decision:
        now = call.received_at
        about = Circumstances(
            int(now), self._views.fresh(now), self._views.revocations, self._settings.environment, self._views.challenged_at
        )
        call.input = decision_input(call.invocation, self._verifier, about, now)
        call.decision = _passed(decide(call.input, self._views.facts))
        return call.decision

    async def _ask_broker(self, call: _Call, asked: InvocationRequest, decision: Decision) -> bytes:
        mint = MintRequest(
            request=asked,
            caller=call.name,
            received_at=int(call.received_at),
            decision=_told(decision),
            explanation=call.explanation,
            deadline=call.received_at + DEADLINE_S,
            traceparent=call.traceparent,
        )
        left = mint.deadline - self._clock.now()
        answer = await self._broker.mint(mint, timeout_s=left, alone=_takes_time(call.invocation, decision))
        if answer.granted is not None:
            return answers.granted(answer.granted, call.traceparent)
        await self._offer(call, asked.intent, answer.needs)  # its view may be ahead of ours
        return call.refused(answer.refused or DenyReason.INTERNAL, answer.needs)  # the broker has recorded it

    async def _offer(self, call: _Call, intent: str | None, needed: str | None) -> None:
        """Of a step-up: a person is asked, or a challenge handed out."""
        needs = next((known for known in ORDER if known == needed), None)
        if needs is None or call.input is None:
            return
        question = ask_of(call.input, human_of(call.input), intent=intent, explanation=call.explanation, caller=call.name)
        call.offer = await self._stepping.offer(needs, question, timeout_s=OFFER_S)

    async def _refuse(self, call: _Call, reason: DenyReason, detail: str | None = None) -> bytes:
        """Record the refusal, then tell what may be told.  Unrecorded, it says nothing but that."""
        body = event(DENIED, call.denied(reason, detail), source=answers.SOURCE, id=call.explanation, traceparent=call.traceparent)
        left = max(0.1, call.received_at + ANSWER_S - self._clock.now())
        try:
            async with asyncio.timeout(left):
                await self._record.record(RECORD.at("gateway", "denied", call.who), body, f"gateway:{call.explanation}")
        except (RecordUnavailable, TimeoutError):
            return call.refused(DenyReason.RECORD_UNAVAILABLE)
        return call.refused(reason, call.decision.needs if call.decision is not None else None)


def _takes_time(invocation: Invocation, decision: Decision) -> bool:
    """The broker has to read before it can decide, to write besides the record, or to ask another authorization server."""
    grant = decision.grant
    return bool(invocation.request.claims.evidence or (grant and (grant.approval or grant.status_list or grant.audience == "external")))


def _named(name: str, now: float) -> Caller:
    """The caller as far as its connection's name says: enough to list tools, with the assurance that gets least."""
    instance, workload = parse_connection_name(name)
    attested = instance.startswith("i")
    return Caller(id=str(workload), instance=instance, attested=attested, assurance="development", jkt=sha256(""), svid_exp=int(now) + 1)


class _Call:
    """One call as far as it was read."""

    def __init__(self, name: str, explanation: str, received_at: float) -> None:
        self.name = name
        self.who = name.partition(".")[2]  # the SPIFFE ID's subject
        self.explanation = explanation
        self.received_at = received_at
        self.traceparent: str | None = None
        self.request_id: str | None = None
        self.invocation: Invocation
        self.input: DecisionInput | None = None
        self.decision: Decision | None = None
        self.offer: Offer | None = None  # of a step-up

    def read(self, invocation: Invocation) -> None:
        """It could be read this far."""
        self.invocation = invocation
        self.request_id = invocation.request.claims.id

    def denied(self, reason: DenyReason, detail: str | None) -> Denied:
        """For RECORD."""
        parent = self.input.parent if self.input is not None else None
        return Denied(
            by="gateway",
            reason=reason,
            input=self.input,
            decision=self.decision,
            explanation=self.explanation,
            caller=self.name,
            detail=detail,
            txn=parent.txn if parent is not None else None,
            approval=self.offer.approval if self.offer is not None else None,
        )

    def refused(self, reason: DenyReason, needs: str | None = None) -> bytes:
        """For the agent."""
        offer = self.offer if reason is DenyReason.STEP_UP_REQUIRED else None
        return answers.refused(reason, self.explanation, request_id=self.request_id, needs=needs, offer=offer, traceparent=self.traceparent)
