"""Token exchange for one call of one tool: decided as any invocation on the bus is (`decide`), by the same facts as the exchange.

The token is bound to a key that the client shows, so the client itself is who acts: an actor token that names somebody else would let one
workload call with the other's name and its own key.  What the tool takes is its record's word: a Transaction Token or an access token of
ours; a tool that takes another form is called over the bus.
"""

from __future__ import annotations

from typing import Any

import orjson

from schemas.accesstoken import ACCESS_TYP
from schemas.actors import ActorClaim
from schemas.decision import Decision, DecisionInput, Grant
from schemas.exchange import ExchangeDecision, ExchangeInput
from schemas.oauth import Answered
from schemas.reasons import DenyReason
from schemas.record import Issued
from schemas.token import TOKEN_TYP, TokenClaims
from streams.subjects import connection_name
from workers.broker.claims import build_claims
from workers.broker.evidence import read_evidence
from workers.broker.forms import OURS, access_claims
from workers.broker.oauth import tools
from workers.broker.oauth.claims import answer, kind_of
from workers.broker.oauth.form import Exchange
from workers.broker.oauth.parts import Request
from workers.broker.oauth.refusals import NOT_GRANTED, OAuthRefused, refusal_of
from workers.broker.oauth.steps import Steps
from workers.broker.oauth.subjects import Vouched
from workers.broker.oauth.transactions import Continued, Workload
from workers.broker.status import wanted as wanted_status
from workers.common.decision import decide
from workers.common.decision.acting import acts_itself


class Calling:
    """Answers authenticated clients that are workloads."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    async def call(
        self, request: Request, wanted: Exchange, decided: tuple[ExchangeDecision, ExchangeInput], named: str, held: Continued | Vouched
    ) -> Answered:
        """1. Who acts.  2. Evidence.  3. Both decisions, over the same facts.  4. Claims.  5. The record, then the token in its form."""
        workload, (exchange, asked) = _caller(request, wanted, decided[1]), decided  # 1
        parts, details = self._steps.parts, tools.read_details(wanted)
        txn = held.parent.txn if held.parent is not None else None
        evidence = await read_evidence(details.evidence, txn, parts.history, parts.views.facts)  # 2
        await self._steps.reach()
        self._steps.gates(request, asked)  # 3
        request.call = call = tools.decision_input(
            asked,
            tools.tool_of(named, parts.views.facts),
            details,
            client=request.client,
            workload=workload,
            held=held,
            acted=_acted(held, exchange),
            evidence=evidence,
            rich=wanted.authorization_details,
            environment=parts.settings.environment,
        )
        request.decision = decision = decide(call, parts.views.facts)
        grant = _grant(decision, wanted)
        claims = await self._claims(request, wanted, call, decision)  # 4
        issued = Issued(
            input=call,
            decision=decision,
            claims=claims,
            kid=parts.signer.kid,
            explanation=request.asked.id,
            caller=connection_name(workload.instance, workload.id),
            exchange=request.exchange,
        )
        return await self._answer(request, issued, grant)  # 5

    async def _claims(self, request: Request, wanted: Exchange, call: DecisionInput, decision: Decision) -> TokenClaims:
        parts, client = self._steps.parts, request.client
        made = build_claims(
            call,
            decision,
            settings=parts.settings,
            now=int(parts.clock.now()),
            fresh_id=parts.fresh_id,
            intent=None,
            req_wl=client.name,
            rctx=tools.context_of(wanted, client, request.asked.address),
        )
        if decision.grant is not None and decision.grant.status_list:
            given = await parts.statuses.allocate(wanted_status(made, parts.signer.kid))
            made["status"] = {"status_list": {"idx": given.idx, "uri": given.uri}}
        return TokenClaims.model_validate_json(orjson.dumps(made))

    async def _answer(self, request: Request, issued: Issued, grant: Grant) -> Answered:
        claims, life = issued.claims, issued.claims.exp - issued.claims.iat
        if grant.audience in OURS:
            token = await self._steps.issue(request, issued, TOKEN_TYP)
            return answer(token, "txn_token", "N_A", life, claims.scope, endpoint=grant.endpoint)
        form = access_claims(claims.plain(), bound=grant.proof is not None or request.bound is not None)
        token = await self._steps.issue(request, issued, ACCESS_TYP, form.wire())
        more: dict[str, Any] = {"endpoint": grant.endpoint, "authorization_details": list(form.authorization_details) or None}
        return answer(token, "access_token", kind_of(form.cnf), life, form.scope, **more)


def _caller(request: Request, wanted: Exchange, asked: ExchangeInput) -> Workload:
    """The client's workload, and no other instance of it than the one that asks.

    That an access token is refused as one for no target would be tells nobody which targets are tools.
    """
    workload, actor = request.workload, asked.actor
    if workload is None:
        if wanted.requested == "txn_token":
            raise OAuthRefused("unauthorized_client", "only a workload calls tools", DenyReason.AGENT_UNKNOWN)
        raise OAuthRefused(*NOT_GRANTED, DenyReason.AGENT_UNKNOWN)
    if not acts_itself(asked) or (actor is not None and actor.instance not in (None, workload.instance)):
        raise OAuthRefused(*NOT_GRANTED, DenyReason.ACTOR_NOT_ALLOWED)
    return workload


def _acted(held: Continued | Vouched, exchange: ExchangeDecision) -> ActorClaim | None:
    """Before this call and, where calls came before it, before the first of them."""
    if isinstance(held, Continued) and held.tool is not None:
        return held.parent.acted
    return None if exchange.act is None else exchange.act.act


def _grant(decision: Decision, wanted: Exchange) -> Grant:
    """What is granted, in a form that was asked for.  Raises OAuthRefused."""
    grant = decision.grant
    if not decision or grant is None:
        raise refusal_of(decision.reason or DenyReason.INTERNAL, tool=True)
    if grant.approval is not None:  # it is spent on one signed request, and this is none
        raise refusal_of(DenyReason.STEP_UP_REQUIRED, tool=True)
    if grant.audience not in (OURS if wanted.requested == "txn_token" else ("access_token",)):
        raise OAuthRefused("invalid_request", "this tool takes another form of token", DenyReason.RESOURCE_NOT_ALLOWED)
    return grant
