"""Transaction Tokens as subject tokens: what a replacement continues.  draft-ietf-oauth-transaction-tokens-10 section 1.7 of our sheet.

`txn`, `sub` and `aud` stay, scope only shrinks, the new token outlives no old one, and the call chain grows by the token that is replaced:
`req_chain` where no tool was named, `act_chain` where one was.  Who may continue a token that opens a tool is the rule of the bus: the
workload it is addressed to, or the very instance it was issued to.  One that opens none may be continued by any client with a ceiling
for it; one that is bound (`cnf`, RFC 7800 section 3) by who shows that key alone: the exchange takes the place of the guard, which no
such token meets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from weft.digest import sha256
from weft.errors import Malformed
from weft.jws import parse_jws
from weft.spiffeid import SpiffeID
from weft.strictjson import parse_object

from schemas.accesstoken import AccessTokenClaims
from schemas.decision import Parent
from schemas.exchange import Subject, TransactionClaims
from schemas.reasons import DenyReason
from schemas.token import MAX_HOPS, MAX_TOKEN_BYTES, Ceiling, RequestChain, Requested
from streams.facts_table import FactsTable
from workers.broker.oauth.clients import Authenticated
from workers.broker.oauth.refusals import OAuthRefused, unavailable
from workers.common.requests import RequestRefused
from workers.common.transactiontoken import TransactionTokenRefused, VerifiedTransaction, verify_transaction
from workers.common.verification import Verifier

ALL = ("*",)


@dataclass(frozen=True, slots=True)
class Workload:
    """See workers.common.verification.Party."""

    id: SpiffeID
    instance: str


@dataclass(frozen=True, slots=True)
class Continued:
    """A verified Transaction Token, as the two decisions read it."""

    subject: Subject
    parent: Parent
    tool: str | None = None  # that it opens
    tctx: dict[str, Any] = field(default_factory=dict)
    rctx: dict[str, Any] = field(default_factory=dict)


def read_transaction(
    unverified_token: str,
    verifier: Verifier,
    client: Authenticated,
    workload: Workload | None,
    *,
    facts: FactsTable,
    issuer: str,
    trust_domain: str,
    now: float,
) -> Continued:
    """Live, not revoked, of an active client, and this client's to continue.  Raises OAuthRefused."""
    try:
        if not _opens_a_tool(unverified_token):
            token = verify_transaction(unverified_token, verifier.token_keys(now), issuer=issuer, trust_domain=trust_domain, now=now)
            verifier.check_live(token)
            _check_holder(token, client, facts)
            return _without_tool(token)
        if workload is None:
            raise OAuthRefused("invalid_request", "subject_token: only a workload continues it", DenyReason.PARENT_NOT_ADDRESSED)
        return _with_tool(unverified_token, verifier.parent(unverified_token, workload, now))
    except RequestRefused as refused:
        if refused.reason is DenyReason.VIEW_BEHIND:
            raise unavailable(refused.reason) from None
        raise OAuthRefused("invalid_request", f"subject_token: {refused.detail}", refused.reason) from None
    except (TransactionTokenRefused, Malformed) as refused:
        raise OAuthRefused("invalid_request", f"subject_token: {refused}", DenyReason.PARENT_INVALID) from None


def _opens_a_tool(unverified: str) -> bool:
    """Which of the two shapes it has; nothing is believed."""
    return "call" in parse_object(parse_jws(unverified, MAX_TOKEN_BYTES).payload, "the token")


def _check_holder(token: VerifiedTransaction, client: Authenticated, facts: FactsTable) -> None:
    """Its client still is one; and a copy of a bound token is worth nothing to another (RFC 9449 section 1, RFC 8705 section 3)."""
    if not token.client_active(facts):
        raise RequestRefused(DenyReason.PARENT_REVOKED, "its client is no active client")
    bound = token.claims.cnf
    if bound is not None and not bound.shown(client.jkt, client.x5t):
        raise OAuthRefused("invalid_request", "subject_token: bound to a key that the client has not shown", DenyReason.PROOF_INVALID)


def _without_tool(token: VerifiedTransaction) -> Continued:
    claims = token.claims
    if len(claims.req_chain) >= MAX_HOPS:
        raise OAuthRefused("invalid_request", "the subject token may not be replaced any more", DenyReason.CHAIN_TOO_DEEP)
    chain = (*claims.req_chain, Requested(wl=claims.req_wl, jti=claims.jti, iat=claims.iat))
    subject = Subject(
        type="txn_token",
        sub=claims.sub,
        iss=claims.iss,
        scope=tuple(claims.scope.split()),
        exp=claims.exp,
        txn=claims.txn,
        chain=chain,
        act=claims.act,
        asserted=claims.asserted,
        digest=token.digest,
    )
    return Continued(subject, continued_by(claims, chain, token.digest), None, claims.tctx, claims.rctx)


def continued_by(claims: TransactionClaims | AccessTokenClaims, chain: RequestChain, digest: str) -> Parent:
    """As the decision about a tool reads it: its scope bounds what follows."""
    return Parent(
        how="sibling",
        jti=claims.jti,
        txn=claims.txn,
        sub=claims.sub,
        iat=claims.iat,
        exp=claims.exp,
        ceiling=Ceiling(purposes=tuple(claims.scope.split()), tools=ALL, actions=ALL, depth=MAX_HOPS),
        act_chain=(),
        req_chain=chain,
        acted=claims.act,
        digest=digest,
    )


def _with_tool(unverified: str, parent: Parent) -> Continued:
    """Its purpose is its scope here; what its ceiling allows besides, an agent asks for on the bus."""
    payload = parse_object(parse_jws(unverified, MAX_TOKEN_BYTES).payload, "the token")
    subject = Subject(
        type="txn_token",
        sub=parent.sub,
        iss=payload["iss"],
        scope=(payload["scope"],),
        exp=parent.exp,
        txn=parent.txn,
        chain=parent.req_chain,
        act=parent.acted,
        digest=sha256(unverified),
    )
    return Continued(subject, parent, payload["call"]["tool"])
