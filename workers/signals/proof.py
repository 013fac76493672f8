"""What a guard's word counts for: a token that this fabric signed, shown by the guard itself.  Pure.

Who acted, in which instance and transaction, is read from that token and never from what the guard says, so that a guard can only speak
about those who came to it.  Does NOT check that the token was addressed to the guard's tool: a token for another one that was tried
there is what a guard has to tell of.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from weft.claims import VerifiedToken
from weft.errors import GuardReason, TokenRefused
from weft.token import verify_token

from streams.facts_table import FactsTable
from workers.common.bundles import cached_key

LATE_S = 240.0  # after the token's end: a tool may take a while to find a call odd


class NoProof(Exception):
    """Nothing that the fabric signed, or too long ago.  The text says which rule."""


def proven(unverified: str, facts: FactsTable, *, issuer: str, trust_domain: str, now: float) -> VerifiedToken:
    """The token behind a guard's signal.  Raises NoProof."""
    keys = {}
    for key in facts.keys("tokens"):
        public = cached_key(key.jwk) if key.state != "compromised" else None
        if isinstance(public, EllipticCurvePublicKey):
            keys[key.kid] = public
    audiences = {trust_domain, *(tool.resource for tool in facts.tools())}
    try:
        try:
            return verify_token(unverified, keys, issuer=issuer, audiences=audiences, now=now)
        except TokenRefused as refused:
            if refused.reason is not GuardReason.EXPIRED:
                raise
            return verify_token(unverified, keys, issuer=issuer, audiences=audiences, now=now - LATE_S)
    except TokenRefused as refused:
        raise NoProof(f"{refused.reason}: {refused.detail}") from None
