"""The claims of a Transaction Token.  draft-ietf-oauth-transaction-tokens-10 section 1, with the profile of design 5.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from weft.digest import call_digest

from config.settings import Settings
from schemas.decision import Decision, DecisionInput, Grant
from schemas.reasons import DenyReason
from schemas.token import MAX_TTL_S, Actor, Call, Confirmation, TokenClaims
from workers.common.requests import RequestRefused

FreshID = Callable[[], str]


def fresh_id() -> str:
    """122 random bits, RFC 9562 version 4."""
    return str(uuid4())


def build_claims(
    asked: DecisionInput, decision: Decision, *, settings: Settings, now: int, fresh_id: FreshID, intent: str | None
) -> TokenClaims:
    """What the token says.  Takes the decision that allows it; raises RequestRefused where nothing of its life would be left.

    `fresh_id` gives the `jti`, and at the root of a transaction its `txn`.  `intent` is the agent's free text, for readers inside
    the trust domain: nothing is decided by it.
    """
    grant = decision.grant
    if not decision or grant is None:
        raise RequestRefused(DenyReason.INTERNAL, "claims without a decision that allows")
    parent = asked.parent
    return TokenClaims(
        iss=settings.issuer,
        aud=settings.trust_domain if grant.audience == "txn" else grant.resource,
        iat=now,
        exp=_exp(asked, grant, now),
        jti=fresh_id(),
        txn=fresh_id() if parent is None else parent.txn,
        sub=grant.sub,
        scope=grant.purpose,
        purp=grant.purpose,
        req_wl=settings.gateway_id,
        rctx={"authn": "jwt-svid", "assurance": asked.caller.assurance, "request": asked.request_digest},
        tctx=grant.ceiling,
        call=_call(asked, grant),
        act=Actor(sub=asked.caller.id, instance=asked.caller.instance, version=grant.version, deployment=grant.deployment),
        act_chain=() if parent is None else parent.act_chain,
        agentic_ctx=_context(grant, intent),
        evidence=grant.evidence,
        cnf=Confirmation(jkt=asked.caller.jkt),
        rev=asked.revocations,
        facts=decision.facts_revision,
    )


def _exp(asked: DecisionInput, grant: Grant, now: int) -> int:
    """No child outlives its parent, no token the identities it rests on, whatever the decision says of its life."""
    ends = [now + min(grant.ttl_s, MAX_TTL_S), asked.caller.svid_exp]
    ends += [asked.parent.exp] if asked.parent is not None else []
    ends += [asked.user.exp] if asked.user is not None else []
    if min(ends) <= now:
        raise RequestRefused(DenyReason.REQUEST_STALE, "what the token would rest on has expired")
    return min(ends)


def _call(asked: DecisionInput, grant: Grant) -> Call:
    bound = grant.bound
    if bound and asked.call is None:
        raise RequestRefused(DenyReason.MALFORMED, "the tool's record binds the call, and the request names none")
    digest = call_digest(vars(asked.call), bound) if bound and asked.call is not None else None
    return Call(
        tool=asked.tool,
        workload=grant.workload,
        resource=grant.resource,
        actions=grant.actions,
        bound=bound,
        digest=digest,
        single_use=grant.single_use,
    )


def _context(grant: Grant, intent: str | None) -> dict[str, Any]:
    return grant.agentic_ctx if intent is None else {**grant.agentic_ctx, "intent": intent}
