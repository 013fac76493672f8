"""The claims of a Transaction Token.  draft-ietf-oauth-transaction-tokens-10 section 1, with the profile of design 5.  Pure."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from typing import Any, NamedTuple

import orjson
from weft.digest import call_digest

from config.settings import Settings
from schemas.decision import Decision, DecisionInput, Grant
from schemas.reasons import DenyReason
from schemas.token import LEAVES, MAX_TTL_S, AuthorizationDetail
from workers.common.derived import Derived
from workers.common.requests import RequestRefused

FreshID = Callable[[], str]
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def fresh_id() -> str:
    """122 random bits, RFC 9562 version 4."""
    h = token_hex(16)
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:]}"


def build_claims(
    asked: DecisionInput,
    decision: Decision,
    *,
    settings: Settings,
    now: int,
    fresh_id: FreshID,
    intent: str | None,
    req_wl: str | None = None,
    rctx: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What the token says, as `schemas.token.TokenClaims` orders it; tests hold it to that model.

    Takes the decision that allows it; raises RequestRefused where nothing of its life would be left.  `fresh_id` gives the `jti`, and at
    the root of a transaction its `txn`.  `intent` is the agent's free text, for readers inside the trust domain: nothing is decided by it.
    `req_wl` and `rctx` are the token endpoint's; on the bus it is the gateway that asks.
    """
    grant = decision.grant
    if not decision or grant is None:
        raise RequestRefused(DenyReason.INTERNAL, "claims without a decision that allows")
    parent, caller, shared = asked.parent, asked.caller, _shared(grant)
    return {
        "iss": settings.issuer,
        "aud": grant.resource if grant.audience in LEAVES else settings.trust_domain,
        "iat": now,
        "exp": _exp(asked, grant, now),
        "jti": fresh_id(),
        "txn": fresh_id() if parent is None else parent.txn,
        "sub": grant.sub,
        "scope": grant.purpose,
        "purp": grant.purpose,
        "req_wl": req_wl or settings.gateway_id,
        "rctx": {**(rctx or {"authn": "jwt-svid"}), "assurance": caller.assurance, "request": asked.request_digest},
        "tctx": shared.ceiling,
        "call": _call(asked, grant),
        "act": _act(asked, grant),
        "act_chain": [] if parent is None else [actor.plain() for actor in parent.act_chain],
        "req_chain": [] if parent is None else [link.plain() for link in parent.req_chain],
        "agentic_ctx": shared.context if intent is None else {**grant.agentic_ctx, "intent": intent},
        "evidence": shared.evidence,
        "cnf": {"jkt": caller.jkt},
        "rev": asked.revocations,
        "facts": decision.facts_revision,
    }


def _act(asked: DecisionInput, grant: Grant) -> dict[str, Any]:
    caller, acted = asked.caller, asked.acted
    act = {"sub": caller.id, "instance": caller.instance, "version": grant.version, "deployment": grant.deployment}
    return act if acted is None else {**act, "act": acted.plain()}


class _Shared(NamedTuple):
    """What the tokens of one grant have in common, as JSON."""

    ceiling: orjson.Fragment
    context: orjson.Fragment
    evidence: orjson.Fragment


def _share(grant: Grant) -> _Shared:
    parts = (grant.ceiling.plain(), grant.agentic_ctx, [shown.plain() for shown in grant.evidence])
    return _Shared(*(orjson.Fragment(orjson.dumps(part)) for part in parts))


_shared = Derived(_share)


def _exp(asked: DecisionInput, grant: Grant, now: int) -> int:
    """No child outlives its parent, no token the identities it rests on, whatever the decision says of its life.

    That life was counted from the time of the decision: counted from now, a token would outlive a consent by what lies between.
    """
    ends = [min(asked.now, now) + min(grant.ttl_s, MAX_TTL_S), asked.caller.svid_exp]
    ends += [asked.parent.exp] if asked.parent is not None else []
    ends += [asked.user.exp] if asked.user is not None else []
    if min(ends) <= now:
        raise RequestRefused(DenyReason.REQUEST_STALE, "what the token would rest on has expired")
    return min(ends)


def _said(detail: AuthorizationDetail) -> dict[str, Any]:
    """As it was asked for: what it does not say, the token does not say either."""
    return {name: value for name, value in detail.plain().items() if value}


def _call(asked: DecisionInput, grant: Grant) -> dict[str, Any]:
    bound = grant.bound
    if bound and asked.call is None:
        raise RequestRefused(DenyReason.MALFORMED, "the tool's record binds the call, and the request names none")
    call: dict[str, Any] = {
        "tool": asked.tool,
        "workload": grant.workload,
        "resource": grant.resource,
        "actions": grant.actions,
        "bound": bound,
    }
    if bound and asked.call is not None:
        call["digest"] = call_digest(vars(asked.call), bound)
    call["single_use"] = grant.single_use
    if grant.authorization_details is not None:
        call["authorization_details"] = [_said(detail) for detail in grant.authorization_details]
    return call
