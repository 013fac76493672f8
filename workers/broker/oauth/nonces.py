"""Nonces for DPoP proofs at the token endpoint.  RFC 9449 sections 8 and 11.2.

A proof there is of no token yet, so whoever had the key for a moment could have made proofs for later; a nonce cannot be known before
its time.  Nothing is kept: a nonce is a MAC over the minute, under a key that every broker has, so that one broker's counts at each of
them, behind any edge.  The minute before counts too, and the one to come, for a broker whose clock is ahead.
"""

from __future__ import annotations

import hmac
from hashlib import sha256 as hash_of

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from weft.digest import b64u
from weft.dpop import verify_proof
from weft.errors import NonceRequired, ProofRefused

from schemas.oauth import Asked
from schemas.reasons import DenyReason
from workers.broker.oauth.refusals import OAuthRefused

WINDOW_S = 60
MAC_BYTES = 16


class Nonces:
    """`secret`: 32 bytes that the brokers of one fabric share; the key is of its own purpose (HKDF, RFC 5869)."""

    def __init__(self, secret: bytes) -> None:
        self._key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"weft dpop nonce").derive(secret)

    def fresh(self, now: float) -> str:
        """To be given out."""
        return self._of(int(now // WINDOW_S))

    def good(self, now: float) -> frozenset[str]:
        """Those that count."""
        window = int(now // WINDOW_S)
        return frozenset(map(self._of, (window - 1, window, window + 1)))

    def _of(self, window: int) -> str:
        return b64u(hmac.new(self._key, window.to_bytes(8, "big"), hash_of).digest()[:MAC_BYTES])

    def __repr__(self) -> str:
        return "Nonces()"


def use_nonce() -> OAuthRefused:
    """RFC 9449 section 8: nothing was decided, and the same request with this nonce in its proof may be."""
    return OAuthRefused("use_dpop_nonce", "the proof holds the nonce of the DPoP-Nonce header", DenyReason.PROOF_INVALID)


def ask_for_nonce(asked: Asked, nonces: Nonces, now: float) -> None:
    """Raises OAuthRefused where a proof lacks nothing else.  Before anything is claimed: the client may send its assertion once more.

    NOT checked: everything else, which the endpoint does, and the nonce with it.
    """
    for proof in asked.proofs[:1]:
        try:
            verify_proof(proof, method="POST", url=asked.url, now=now, nonce=nonces.good(now))
        except NonceRequired:
            raise use_nonce() from None
        except ProofRefused:
            continue
