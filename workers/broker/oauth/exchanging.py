"""Token exchange: RFC 8693, draft-ietf-oauth-transaction-tokens-10 as a Transaction Token Service.

1. The actor token, if there is one.  2. The subject token.  3. What the token is for: a tool (`calling`), or none.  4. The decision.
5. Claims, record, signature (`steps`).

Without a tool there are two kinds of tokens: a Transaction Token for the trust domain, and an access token (RFC 9068) for resources that
the client's record names.  In both the person is the subject, and who acts is in `act`.
"""

from __future__ import annotations

from typing import Any

from schemas.accesstoken import ACCESS_TYP
from schemas.clients import TOKEN_EXCHANGE
from schemas.exchange import ExchangeDecision, ExchangeInput
from schemas.oauth import Answered
from schemas.reasons import DenyReason
from schemas.token import TOKEN_TYP
from workers.broker.oauth import tools
from workers.broker.oauth.actors import read_actor
from workers.broker.oauth.calling import Calling
from workers.broker.oauth.claims import access_claims, answer, kind_of, transaction_claims
from workers.broker.oauth.form import Exchange
from workers.broker.oauth.parts import Request, exchanged
from workers.broker.oauth.refusals import OAuthRefused, refusal_of
from workers.broker.oauth.steps import Steps
from workers.broker.oauth.subjects import Reading, Vouched, read_subject
from workers.broker.oauth.transactions import Continued, read_transaction


class Exchanging:
    """Answers authenticated clients."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._calling = Calling(steps)

    async def exchange(self, request: Request, wanted: Exchange) -> Answered:
        """200.  Raises OAuthRefused, RequestRefused, RecordUnavailable."""
        await self._steps.reach()  # from here to the decision nothing waits
        self._actor(request, wanted)  # 1
        held = self._subject(request, wanted)  # 2
        if isinstance(held, Vouched) and held.once is not None:
            request.once.append(("subject token", held.once))
        continued = held if isinstance(held, Continued) else None
        named, access = self._tool(wanted, continued), wanted.requested == "access_token"  # 3
        if named is None:
            _check_details(wanted, held)
        resources = wanted.targets if access and named is None else ()
        decided = self._steps.decide(  # 4
            request, TOKEN_EXCHANGE, wanted.scope, held.subject, resources=resources, requested=wanted.requested
        )
        if named is not None:
            return await self._calling.call(request, wanted, decided, named, held)
        tctx = wanted.details if held.tctx is None else held.tctx
        if access:
            return await self._access(request, *decided, tctx)
        return await self._transaction(request, wanted, *decided, tctx=tctx, continued=continued)

    def _actor(self, request: Request, wanted: Exchange) -> None:
        if wanted.actor is None:
            return
        brought = read_actor(wanted.actor, request.client, self._reading(request), self._steps.parts.settings)
        request.actor = brought.acting
        if brought.once is not None:
            request.once.append(("actor token", brought.once))

    def _reading(self, request: Request) -> Reading:
        parts = self._steps.parts
        return Reading(parts.views.facts, parts.revocations, parts.settings.issuer, parts.clock.now(), request.actor)

    def _subject(self, request: Request, wanted: Exchange) -> Continued | Vouched:
        parts = self._steps.parts
        if wanted.subject_type not in request.client.client.ceilings:
            raise refusal_of(DenyReason.SUBJECT_TYPE_NOT_ALLOWED, tool=False)
        if wanted.subject_type != "txn_token":
            return read_subject(wanted.subject_token, wanted.subject_type, request.client, self._reading(request))
        return read_transaction(
            wanted.subject_token,
            parts.verifier,
            request.client,
            request.workload,
            facts=parts.views.facts,
            issuer=parts.settings.issuer,
            trust_domain=parts.settings.trust_domain,
            now=parts.clock.now(),
        )

    # --- what it is for -------------------------------------------------------------------------------------------------------------

    def _tool(self, wanted: Exchange, continued: Continued | None) -> str | None:
        """The resource of the tool to call, if one is to be called.

        A target that is a tool's is always decided as a call, whatever resources the client has: an access token without a call would be
        good for all that the tool does.  From a token that opens a tool follows only one that opens a tool.
        """
        facts = self._steps.parts.views.facts
        if wanted.requested == "txn_token":
            if wanted.targets or continued is None or continued.tool is None:
                return wanted.targets[0] if wanted.targets else None
            return self._same_tool(continued)
        resources = {tool.resource for tool in facts.tools()}
        if len(wanted.targets) == 1 and wanted.targets[0] in resources:
            return wanted.targets[0]
        if resources & set(wanted.targets) or (continued is not None and continued.tool is not None):
            raise refusal_of(DenyReason.RESOURCE_NOT_ALLOWED, tool=True)
        return None

    def _same_tool(self, continued: Continued) -> str:
        """A replacement of a token for a tool is for that tool; who was called with it names the next one."""
        tool = self._steps.parts.views.facts.tool(continued.tool or "")
        if continued.parent.how == "child" or tool is None:
            raise OAuthRefused("invalid_request", "resource names the tool to call", DenyReason.TOOL_UNKNOWN)
        return tool.resource

    # --- tokens that open no tool ---------------------------------------------------------------------------------------------------

    async def _transaction(
        self,
        request: Request,
        wanted: Exchange,
        decision: ExchangeDecision,
        asked: ExchangeInput,
        *,
        tctx: dict[str, Any],
        continued: Continued | None,
    ) -> Answered:
        parts, client = self._steps.parts, request.client
        claims = transaction_claims(
            asked,
            decision,
            client,
            bound=request.bound,
            tctx=tctx,
            rctx=tools.context_of(wanted, client, request.asked.address, None if continued is None else continued.rctx),
            settings=parts.settings,
            fresh_id=parts.fresh_id,
        )
        token = await self._steps.issue(request, exchanged(request, decision, claims, parts.signer.kid), TOKEN_TYP)
        return answer(token, "txn_token", "N_A", claims.exp - claims.iat, claims.scope)

    async def _access(self, request: Request, decision: ExchangeDecision, asked: ExchangeInput, tctx: dict[str, Any]) -> Answered:
        parts, bound = self._steps.parts, request.bound
        claims = access_claims(asked, decision, request.client, bound=bound, settings=parts.settings, fresh_id=parts.fresh_id, tctx=tctx)
        token = await self._steps.issue(request, exchanged(request, decision, claims, parts.signer.kid), ACCESS_TYP)
        return answer(token, "access_token", kind_of(claims.cnf), claims.exp - claims.iat, claims.scope)


def _check_details(wanted: Exchange, held: Continued | Vouched) -> None:
    """What is said of a request that names no tool.  Raises OAuthRefused."""
    if wanted.authorization_details is not None:
        detail = "only a tool understands authorization_details"
        raise OAuthRefused("invalid_authorization_details", detail, DenyReason.DETAILS_NOT_ALLOWED)
    if wanted.details and held.tctx is not None:
        raise OAuthRefused("invalid_request", "request_details: tctx was fixed when the transaction began")
