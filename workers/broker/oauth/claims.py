"""The claims of what the token endpoint issues without a tool.  RFC 9068 section 2.2, draft-ietf-oauth-transaction-tokens-10 section 1.1.

Both take the decision that allows them.  Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from config.settings import Settings
from schemas.accesstoken import AccessTokenClaims, Bound
from schemas.exchange import ExchangeDecision, ExchangeInput, TransactionClaims
from schemas.reasons import DenyReason
from workers.broker.claims import FreshID
from workers.broker.oauth.clients import Authenticated
from workers.common.requests import RequestRefused


def access_claims(
    asked: ExchangeInput, decision: ExchangeDecision, client: Authenticated, *, bound: Bound | None, settings: Settings, fresh_id: FreshID
) -> AccessTokenClaims:
    """Of client_credentials: the client is the subject, and the fabric itself the audience unless a resource was named."""
    _check(decision)
    resources = asked.resources or (settings.issuer,)
    return AccessTokenClaims(
        iss=settings.issuer,
        aud=resources[0] if len(resources) == 1 else resources,
        sub=asked.client_id,
        client_id=asked.client_id,
        iat=asked.now,
        exp=_exp(asked, decision, client),
        jti=fresh_id(),
        scope=" ".join(asked.scope),
        txn=fresh_id(),
        rev=asked.revocations,
        facts=decision.facts_revision,
        workload=asked.workload,
        cnf=bound,
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
        tctx=dict(tctx),
        rctx=dict(rctx),
        req_chain=subject.chain,
        cnf=bound,
        rev=asked.revocations,
        facts=decision.facts_revision,
        workload=asked.workload,
    )


def _check(decision: ExchangeDecision) -> None:
    if not decision:
        raise RequestRefused(DenyReason.INTERNAL, "claims without a decision that allows")


def _exp(asked: ExchangeInput, decision: ExchangeDecision, client: Authenticated) -> int:
    """No token outlives the identity it rests on (RFC 8705: a certificate that is renewed takes what is bound to it along)."""
    exp = min(asked.now + decision.ttl_s, client.exp or asked.now + decision.ttl_s)
    if exp <= asked.now:
        raise RequestRefused(DenyReason.SVID_EXPIRED, "the client's identity has expired")
    return exp
