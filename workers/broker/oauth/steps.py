"""What every token request has in common: the decision about the client and what it asks, the record, the signature.

A decision is made at views that are never below the facts that a revocation here names (see workers.broker.mint: who mints at a counter
knows every posture that an entry below it stands for).  From `reach` over the reading of tokens to `decide` nothing waits: an entry that
ended a token in between would not hit what is minted at its own counter.
"""

from __future__ import annotations

from weft.digest import canonical, sha256

from schemas.clients import GrantType, IssuedType
from schemas.exchange import Exchange as Exchanging
from schemas.exchange import ExchangeDecision, ExchangeInput, Subject
from schemas.reasons import DenyReason
from schemas.record import Exchanged, Issued
from schemas.token import MAX_TOKEN_BYTES
from workers.broker.mint import VIEW_WAIT_S
from workers.broker.oauth.parts import Parts, Request
from workers.broker.oauth.refusals import OAuthRefused, refusal_of, unavailable
from workers.broker.signer import Committed
from workers.common.decision.exchange import decide_exchange


class Steps:
    """Over the endpoint's parts."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def decide(
        self,
        request: Request,
        grant: GrantType,
        scope: tuple[str, ...],
        subject: Subject | None = None,
        *,
        resources: tuple[str, ...] = (),
        requested: IssuedType = "txn_token",
    ) -> tuple[ExchangeDecision, ExchangeInput]:
        """The decision, and all that it read.  Raises OAuthRefused.  `reach` comes before what the request brings is read."""
        parts, client, now = self.parts, request.client, self.parts.clock.now()
        request.input = asked = ExchangeInput(
            request_id=request.asked.id,
            request_digest=sha256(canonical(request.form.plain())),
            grant=grant,
            client_id=client.client.client_id,
            auth_method=client.method,
            workload=client.workload,
            instance=client.instance,
            assurance=client.assurance,
            subject=subject,
            actor=request.actor,
            requested=requested,
            issuer=parts.settings.issuer,
            scope=scope,
            resources=resources,
            now=int(now),
            views_fresh=parts.views.fresh(now),
            revocations=parts.views.revocations,
        )
        return self.gates(request, asked), asked

    def gates(self, request: Request, asked: ExchangeInput) -> ExchangeDecision:
        """`decide_exchange`, on record whatever it says.  Raises OAuthRefused."""
        decision = decide_exchange(asked, self.parts.views.facts)
        request.exchange = Exchanging(input=asked, decision=decision)
        if not decision:
            raise refusal_of(decision.reason or DenyReason.INTERNAL, tool=False)
        return decision

    async def reach(self) -> None:
        """Waits for the facts that revocations here stand for.  Raises OAuthRefused (503)."""
        views = self.parts.views
        if views.facts.revision < views.facts_needed and not await views.reach(views.facts_needed, VIEW_WAIT_S):
            raise unavailable(DenyReason.VIEW_BEHIND)

    async def issue(self, request: Request, issued: Issued | Exchanged, typ: str, form: bytes | None = None) -> str:
        """The token, once what counts once was claimed and RECORD has acknowledged.  `form`: what of the recorded claims is signed."""
        parts, payload = self.parts, form or issued.claims.wire()
        if parts.signer.size_of(payload, typ) > MAX_TOKEN_BYTES:
            raise OAuthRefused("invalid_request", f"the token would be longer than {MAX_TOKEN_BYTES} bytes", DenyReason.TOO_LARGE)
        await self._once(request)
        committed = await parts.recording.issued(issued, request.client, typ)
        return parts.signer.issue_token(Committed(payload, committed.seq, committed.kid, typ))

    async def _once(self, request: Request) -> None:
        for what, once in request.once:
            if not await self.parts.once.claim(once, self.parts.clock.now()):
                raise OAuthRefused("invalid_request", f"the {what} was used before", DenyReason.ALREADY_CLAIMED)
