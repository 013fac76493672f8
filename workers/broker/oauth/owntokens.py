"""Tokens that Weft issued itself, and what a client signs with its own key: as subject and as actor tokens.

RFC 8693 section 2.1; `self_signed` is draft-ietf-oauth-transaction-tokens-10's (section 1.3 of our sheet).  All refusals are
IdentityRefused, with the reason that the caller gives.
"""

from __future__ import annotations

from typing import Any

from schemas.decision import Parent
from schemas.exchange import Subject
from schemas.reasons import DenyReason
from schemas.token import MAX_HOPS, Requested
from streams.facts_table import FactsTable
from workers.broker.oauth.clients import Authenticated
from workers.broker.oauth.transactions import continued_by
from workers.common.accesstoken import AccessTokenRefused, VerifiedAccessToken, verify_access_token
from workers.common.credentials import SKEW_S, IdentityRefused, audiences, check_times, parsed, signed_claims
from workers.common.usertoken import MAX_USER_TOKEN_BYTES, jwks_key
from workers.common.verification import RevocationsKnown

MAX_SELF_SIGNED_AGE_S = 300
_INVALID = DenyReason.SUBJECT_TOKEN_INVALID


def own_access_token(
    token: str, client: Authenticated, facts: FactsTable, revocations: RevocationsKnown, *, issuer: str, now: float
) -> tuple[Subject, Parent | None, dict[str, Any] | None]:
    """As a subject token: the client's own, or for a resource that it serves.  Its holder is one more link of the call chain.

    One in which somebody acts for a person continues its transaction (Parent and `tctx`), as a replacement of a Transaction Token does:
    neither `txn` nor its details nor any actor is lost on the way.  One for a single call of a tool is a leaf: nothing follows from it.
    """
    found = _live(token, client, facts, revocations, issuer=issuer, now=now)
    claims = found.claims
    if claims.call is not None:
        raise IdentityRefused(_INVALID, "a token for one call is a leaf")
    if not found.audiences & set(client.client.protects) and claims.client_id != client.client.client_id:
        raise IdentityRefused(_INVALID, "neither this client's own nor for a resource that it serves")
    if len(claims.req_chain) >= MAX_HOPS:
        raise IdentityRefused(DenyReason.CHAIN_TOO_DEEP, "too many tokens came before it")
    chain = (*claims.req_chain, Requested(wl=claims.workload or claims.client_id, jti=claims.jti, iat=claims.iat))
    subject = Subject(
        type="access_token",
        sub=claims.sub,
        iss=claims.iss,
        scope=found.scope,
        exp=claims.exp,
        txn=None if claims.act is None else claims.txn,
        chain=chain,
        act=claims.act,
        digest=found.digest,
    )
    if claims.act is None:
        return subject, None, None
    return subject, continued_by(claims, chain, found.digest), claims.tctx or {}


def _live(
    token: str, client: Authenticated, facts: FactsTable, revocations: RevocationsKnown, *, issuer: str, now: float
) -> VerifiedAccessToken:
    """For the fabric, for what the client serves, or for what it asks tokens for.

    One that is bound was shown to who serves its audience by somebody else, whose key it checked itself (RFC 9449 section 7.1).
    """
    detail, protects = "", client.client.protects
    for audience in dict.fromkeys((issuer, *protects, *client.client.resources)):
        try:
            return verify_access_token(
                token,
                facts,
                revocations,
                issuer=issuer,
                audience=audience,
                now=now,
                jkt=client.jkt,
                x5t=client.x5t,
                shown_elsewhere=audience in protects,
            )
        except AccessTokenRefused as refused:
            detail = refused.detail
    raise IdentityRefused(_INVALID, detail)


def own_signed(token: str, client: Authenticated, *, issuer: str, now: float, reason: DenyReason) -> dict[str, Any]:
    """Signed by the client's own key; `aud` is this service and nobody else (the draft: SHALL verify), made within five minutes."""
    if client.client.jwks is None:
        raise IdentityRefused(reason, "the client has no key of its own")
    jws = parsed(token, MAX_USER_TOKEN_BYTES, reason)
    if jws.media_type not in ("", "jwt"):
        raise IdentityRefused(reason, "typ is another token's")
    key = jwks_key(client.client.jwks, jws)
    if key is None or jws.unverified_payload.get("iss") not in (client.client.client_id, client.workload):
        raise IdentityRefused(reason, "not signed by this client")
    claims = signed_claims(jws, key, reason)
    if audiences(claims.get("aud")) != [issuer]:
        raise IdentityRefused(reason, "aud is not this service alone")
    check_times(claims, now, invalid=reason, expired=reason)
    if now - claims.get("iat", 0) > MAX_SELF_SIGNED_AGE_S + SKEW_S:
        raise IdentityRefused(reason, "made too long ago")
    return claims
