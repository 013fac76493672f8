"""Transaction Tokens that open no tool (`schemas.exchange`), verified.  draft-ietf-oauth-transaction-tokens-10 section 1.6.

The tokens that a guard takes are `weft.token`'s; both have one `typ`, and are told apart by `call`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from pydantic import ValidationError
from weft.digest import sha256, target_digest
from weft.errors import Malformed
from weft.jws import es256_verifies, parse_jws

from schemas.exchange import TransactionClaims
from schemas.token import MAX_TOKEN_BYTES, MAX_TTL_S, SKEW_S, TOKEN_ALG, TOKEN_TYP
from workers.common.accesstoken import Facts, acting_targets, client_active, named_targets


class TransactionTokenRefused(Exception):
    """It does not verify; the text names the rule."""


@dataclass(frozen=True, eq=False)
class VerifiedTransaction:
    """Its claims, now that signature, issuer, audience and time were verified."""

    claims: TransactionClaims
    kid: str
    digest: str
    raw: str = field(repr=False)

    @property
    def rev(self) -> int:
        """See weft.revocation.Revocable."""
        return self.claims.rev

    def client_active(self, facts: Facts) -> bool:
        """Whoever requested it is still a client; a token that does not say by which client is nobody's to suspend."""
        return self.claims.client_id is None or client_active(self.claims.client_id, facts)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Digests of what ends it: itself, its transaction, the tokens it rests on, the key, the person, whoever acts or acted."""
        return tuple(dict.fromkeys(_targets(self.claims, self.kid)))


def verify_transaction(
    unverified: str, keys: Mapping[str, EllipticCurvePublicKey], *, issuer: str, trust_domain: str, now: float
) -> VerifiedTransaction:
    """Raises TransactionTokenRefused.  NOT checked: whether it is revoked, which the caller asks of its view."""
    try:
        jws = parse_jws(unverified, MAX_TOKEN_BYTES)
        kid = jws.kid(TOKEN_ALG, TOKEN_TYP)
    except Malformed as error:
        raise TransactionTokenRefused(str(error)) from None
    key = keys.get(kid)
    if key is None or not es256_verifies(key, jws):
        raise TransactionTokenRefused("signed by no key of ours")
    try:
        claims = TransactionClaims.model_validate_json(jws.payload)
    except ValidationError:
        raise TransactionTokenRefused("not the claims of a transaction without a call") from None
    if (claims.iss, claims.aud) != (issuer, trust_domain):
        raise TransactionTokenRefused("another issuer or trust domain")
    if now >= claims.exp or claims.iat > now + SKEW_S or claims.exp - claims.iat > MAX_TTL_S:
        raise TransactionTokenRefused("expired, or not valid yet")
    return VerifiedTransaction(claims, kid, sha256(unverified), unverified)


def _targets(claims: TransactionClaims, kid: str) -> Iterator[str]:
    yield target_digest("token", claims.jti)
    yield target_digest("transaction", claims.txn)
    yield target_digest("key", kid)
    yield target_digest("user", claims.sub)
    for name in (claims.sub, claims.req_wl, claims.workload or "", *(link.wl for link in claims.req_chain)):
        yield from named_targets(name)
    for link in claims.req_chain:
        yield target_digest("token", link.jti)
    yield from acting_targets(claims.act)
