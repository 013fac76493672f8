"""The claims of what the token endpoint issues without a tool.  RFC 9068 section 2.2, draft-ietf-oauth-transaction-tokens-10 section 1.1.

Both take the decision that allows them.  Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from config.settings import Settings
from schemas.accesstoken import AccessTokenClaims, Bound
from schemas.clients import ASSERTED, TOKEN_TYPE, IssuedType
from schemas.exchange import ExchangeDecision, ExchangeInput, TransactionClaims
from schemas.oauth import Answered
from schemas.reasons import DenyReason
from workers.broker.claims import FreshID
from workers.broker.oauth.clients import Authenticated
from workers.common.requests import RequestRefused


def access_claims(
    asked: ExchangeInput,
    decision: ExchangeDecision,
    client: Authenticated,
    *,
    bound: Bound | None,
    settings: Settings,
    fresh_id: FreshID,
    tctx: Mapping[str, Any] | None = None,
) -> AccessTokenClaims:
    """Of client_credentials: the client is the subject, and the fabric itself the audience unless a resource was named.  Of an exchange:
    the subject token's subject, for the resources that were named; it goes on in the transaction that it came from.
    """
    _check(decision)
    subject = asked.subject
    if subject is not None and not asked.resources:
        raise RequestRefused(DenyReason.INTERNAL, "an access token for nothing")
    resources = asked.resources or (settings.issuer,)
    return AccessTokenClaims(
        iss=settings.issuer,
        aud=resources[0] if len(resources) == 1 else resources,
        sub=asked.client_id if subject is None else subject.sub,
        client_id=asked.client_id,
        iat=asked.now,
        exp=_exp(asked, decision, client),
        jti=fresh_id(),
        scope=" ".join(asked.scope),
        txn=(subject.txn if subject is not None else None) or fresh_id(),
        rev=asked.revocations,
        facts=decision.facts_revision,
        workload=asked.workload,
        cnf=bound,
        act=decision.act,
        req_chain=() if subject is None else subject.chain,
        tctx=dict(tctx) if tctx else None,
    )


def transaction_claims(
    asked: ExchangeInput,
    decision: ExchangeDecision,
    client: Authenticated,
    *,
    bound: Bound | None,
    tctx: Mapping[str, Any],
    rctx: Mapping[str, Any],
    settings: Settings,
    fresh_id: FreshID,
) -> TransactionClaims:
    """Of an exchange that names no tool."""
    _check(decision)
    subject = asked.subject
    if subject is None:
        raise RequestRefused(DenyReason.INTERNAL, "an exchange without a subject")
    return TransactionClaims(
        iss=settings.issuer,
        aud=settings.trust_domain,
        iat=asked.now,
        exp=_exp(asked, decision, client),
        jti=fresh_id(),
        txn=subject.txn or fresh_id(),
        sub=subject.sub,
        scope=" ".join(asked.scope),
        req_wl=client.name,
        client_id=asked.client_id,
        tctx=dict(tctx),
        rctx=dict(rctx),
        req_chain=subject.chain,
        cnf=bound,
        rev=asked.revocations,
        facts=decision.facts_revision,
        workload=asked.workload,
        act=decision.act,
        asserted=True if subject.asserted or subject.type in ASSERTED else None,
    )


def _check(decision: ExchangeDecision) -> None:
    if not decision:
        raise RequestRefused(DenyReason.INTERNAL, "claims without a decision that allows")


def _exp(asked: ExchangeInput, decision: ExchangeDecision, client: Authenticated) -> int:
    """No token outlives the identity it rests on (RFC 8705: a certificate that is renewed takes what is bound to it along)."""
    exp = min(asked.now + decision.ttl_s, client.exp or asked.now + decision.ttl_s)  # an actor token's end is in the decision
    if exp <= asked.now:
        raise RequestRefused(DenyReason.SVID_EXPIRED, "the client's identity has expired")
    return exp


def kind_of(bound: Bound | None) -> str:
    """`token_type` of an access token: RFC 6750, RFC 9449 section 5."""
    return "DPoP" if bound is not None and bound.jkt is not None else "Bearer"


def answer(token: str, issued: IssuedType, kind: str, expires_in: int, scope: str, **more: Any) -> Answered:
    """RFC 8693 section 2.2.1; of a Transaction Token `expires_in` and `scope` as well, and where the tool lives, if one was named."""
    body = {"access_token": token, "issued_token_type": TOKEN_TYPE + issued, "token_type": kind, "expires_in": expires_in, "scope": scope}
    return Answered(status=200, body={**body, **{name: value for name, value in more.items() if value is not None}})
