"""One token's way through the broker (design 4, steps 4 and 5).  Boulder's order: validate, decide, record, and only then sign.

1. Who calls: the SVID, and that the gateway names its connection.  2. The agent's signature over exactly this request, fresh.
3. One request, one answer.  4. Views: never below the facts that the gateway decided by, or that a revocation here names.  5. Evidence.
6. The decision, by this broker's own views.  7. It allows no more than the gateway's.  8. Claims, the entry of a status list where the
tool asks for one, and size.  9. An approval it rests on is spent.  10. The record, acknowledged.  11. The signature.

The gateway's word narrows and never widens: forged, it gets nothing that the agent did not sign for and the facts do not allow.
"""

from __future__ import annotations

import asyncio

import orjson
from weft.claims import parse_claims
from weft.digest import sha256

from config.settings import Settings
from schemas.approvals import Spend
from schemas.decision import Decision, DecisionInput
from schemas.invocation import Granted
from schemas.minting import MintRequest
from schemas.reasons import DenyReason
from schemas.record import ISSUED, Issued
from schemas.token import MAX_TOKEN_BYTES, SKEW_S, TOKEN_TYP, Evidence
from streams.bus import Malformed, event_of, parse
from streams.subjects import RECORD
from workers.broker.authservers.obtaining import Elsewhere
from workers.broker.bounds import Agreement, agreement
from workers.broker.claims import FreshID, build_claims, fresh_id
from workers.broker.evidence import read_evidence
from workers.broker.forms import OURS, signed_form
from workers.broker.issuance import Issuance, grant_in, issued_json
from workers.broker.once import Once
from workers.broker.ports import Approvals, History, HistoryUnavailable, Record, Signer, Statuses, Views
from workers.broker.signer import Committed
from workers.broker.status import wanted
from workers.common.approvals import ask_of, asked_digest
from workers.common.clock import Clock
from workers.common.decision import decide, human_of
from workers.common.intake import Circumstances, Invocation, decision_input, read_invocation
from workers.common.recorder import RecordUnavailable
from workers.common.requests import RequestRefused, verify_signature
from workers.common.verification import Verifier

SOURCE = "/weft/broker"
VIEW_WAIT_S = 0.2  # design 4, step 4


class NotAllowed(Exception):
    """The broker's own decision refuses, or differs from the gateway's."""

    def __init__(self, reason: DenyReason, asked: DecisionInput, decision: Decision) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.asked = asked
        self.decision = decision


class Mint:
    """Validates again, records, signs."""

    def __init__(
        self,
        *,
        views: Views,
        verifier: Verifier,
        record: Record,
        history: History,
        approvals: Approvals,
        signer: Signer,
        statuses: Statuses,
        clock: Clock,
        settings: Settings,
        fresh_id: FreshID = fresh_id,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._views = views
        self._verifier = verifier
        self._record = record
        self._history = history
        self._approvals = approvals
        self._signer = signer
        self._statuses = statuses
        self._clock = clock
        self._settings = settings
        self._fresh_id = fresh_id
        self._elsewhere = elsewhere
        self._once = Once()

    async def grant(self, mint: MintRequest) -> Granted:
        """The grant.  Raises RequestRefused, IdentityRefused, NotAllowed, RecordUnavailable; the caller sets the deadline."""
        now = self._clock.now()
        if abs(now - mint.received_at) > SKEW_S:
            raise RequestRefused(DenyReason.REQUEST_STALE, f"the gateway's clock is more than {SKEW_S} s away")
        invocation = read_invocation(mint.request, mint.caller, self._verifier, now)  # 1
        verify_signature(invocation.request, nkey=invocation.caller.nkey)  # 2
        key = sha256(f"{mint.caller}\0{invocation.request.claims.id}")

        async def make() -> Granted:
            return await self._make(mint, invocation, key)

        return await self._once.answer(key, invocation.request.digest, make)  # 3

    async def _make(self, mint: MintRequest, invocation: Invocation, key: str) -> Granted:
        asked, word = await self._decide(mint, invocation)  # 4 to 7
        claims = build_claims(  # 8
            asked,
            word.decision,
            settings=self._settings,
            now=int(self._clock.now()),
            fresh_id=self._fresh_id,
            intent=mint.request.intent,
        )
        grant, kid = grant_in(word.decision), self._signer.kid
        if grant.status_list:
            given = await self._statuses.allocate(wanted(claims, kid))
            claims["status"] = {"status_list": {"idx": given.idx, "uri": given.uri}}
        payload = orjson.dumps(claims)
        if grant.audience in OURS:
            self._check_size(payload, TOKEN_TYP)
        elif (form := signed_form(grant, payload)) is not None:
            self._check_size(*form)
        issuance = Issuance(asked.request_id, asked.request_digest, claims["txn"], claims["exp"], grant, mint.explanation, payload, kid)
        record = issued_json(asked, word, mint, payload, issuance.kid)
        await self._spend(word.decision, asked)  # 9
        issuance, committed = await self._commit(issuance, record, mint, key)  # 10
        if issuance.grant.audience in OURS:
            return issuance.granted(self._signer.issue_token(committed))  # 11
        if issuance.grant.audience == "external":
            return await self._obtained(asked.tool, issuance)
        return issuance.granted(self._in_form(issuance, committed))

    async def _obtained(self, tool: str, issuance: Issuance) -> Granted:
        """What another authorization server issues for this call, which is decided and on RECORD as any other."""
        if self._elsewhere is None:
            raise RequestRefused(DenyReason.AUTHSERVER_REFUSED, "this broker asks no other server")
        call = parse_claims(orjson.loads(issuance.payload), raw="", digest="", kid=issuance.kid)
        held = await self._elsewhere.for_agent(tool, call)
        return issuance.granted(held.token).model_copy(update={"expires_at": int(held.exp)})

    def _in_form(self, issuance: Issuance, committed: Committed) -> str | None:
        """Another form than the recorded one: a part of the recorded claims, or nothing of ours at all."""
        form = signed_form(issuance.grant, committed.payload)
        return None if form is None else self._signer.issue_token(Committed(form[0], committed.seq, committed.kid, form[1]))

    def _check_size(self, payload: bytes, typ: str) -> None:
        if self._signer.size_of(payload, typ) > MAX_TOKEN_BYTES:
            raise RequestRefused(DenyReason.TOO_LARGE, f"the token would be longer than {MAX_TOKEN_BYTES} bytes")

    async def _decide(self, mint: MintRequest, invocation: Invocation) -> tuple[DecisionInput, Agreement]:
        if not mint.decision:
            raise RequestRefused(DenyReason.DECISION_MISMATCH, "the gateway does not allow it")
        await self._reach(mint.decision.facts_revision)  # 4
        evidence = await self._evidence(invocation)  # 5
        await self._reach(mint.decision.facts_revision)  # reading took time; from here to the decision nothing waits
        now = self._clock.now()
        about = Circumstances(
            mint.received_at, self._views.fresh(now), self._views.revocations, self._settings.environment, self._views.challenged_at
        )
        asked = decision_input(invocation, self._verifier, about, now, evidence)
        word = agreement(decide(asked, self._views.facts), mint.decision)  # 6
        if not word.decision:
            raise NotAllowed(word.decision.reason or DenyReason.INTERNAL, asked, word.decision)
        if not word.within:  # 7
            raise NotAllowed(DenyReason.DECISION_MISMATCH, asked, word.decision)
        return asked, word

    async def _spend(self, decision: Decision, asked: DecisionInput) -> None:
        """What a person let pass once is used up before anything is minted for it, by this request or by none."""
        approval = decision.grant.approval if decision.grant is not None else None
        ask = None if approval is None else ask_of(asked, human_of(asked))
        if approval is None or ask is None:
            return
        await self._approvals.spend(Spend(agent=asked.caller.id, id=approval, digest=asked_digest(ask), request=asked.request_digest))

    async def _reach(self, wanted: int) -> None:
        """Wait for the facts that the gateway decided by, and for all that an applied revocation stands for.

        A token minted at counter n must know the posture that entry n was written for, since the entry itself does not hit it.
        """
        views = self._views
        until = asyncio.get_running_loop().time() + VIEW_WAIT_S
        while views.facts.revision < (needed := max(wanted, views.facts_needed)):
            if not await views.reach(needed, until - asyncio.get_running_loop().time()):
                raise RequestRefused(DenyReason.VIEW_BEHIND, "this broker's facts are older than the decision's")

    async def _evidence(self, invocation: Invocation) -> tuple[Evidence, ...]:
        wanted, token = invocation.request.claims.evidence, invocation.carried.parent_token
        if not wanted:
            return ()
        txn = None if token is None else self._verifier.parent(token, invocation.caller, self._clock.now()).txn
        return await read_evidence(wanted, txn, self._history, self._views.facts)

    async def _commit(self, issuance: Issuance, record: bytes, mint: MintRequest, key: str) -> tuple[Issuance, Committed]:
        """Record the issuance; what was issued is what RECORD holds under this request's id, ours or an earlier one's."""
        msg_id = f"broker:{key}"
        subject = RECORD.at("broker", "issued", mint.caller.partition(".")[2])
        body = event_of(ISSUED, record, source=SOURCE, id=msg_id, traceparent=mint.traceparent)
        recorded = await self._record.commit(subject, body, msg_id)
        if recorded.duplicate:
            issuance = await self._first(recorded.seq, subject, issuance.request_digest)
        return issuance, Committed(issuance.payload, recorded.seq, issuance.kid)

    async def _first(self, seq: int, subject: str, request_digest: str) -> Issuance:
        """The earlier record under this id: of the very same request, or there is no answer."""
        try:
            recorded = await self._history.at(seq)
            first = None if recorded is None or recorded.subject != subject else parse(Issued, recorded.body).data
        except (HistoryUnavailable, Malformed):
            first = None
        if first is None:
            raise RecordUnavailable("the first record of this request cannot be read")
        if first.input.request_digest != request_digest:
            raise RequestRefused(DenyReason.REQUEST_REUSED, "the id was used for another request")
        return Issuance.recorded(first)
