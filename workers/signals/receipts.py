"""What was done about a signal, signed: an action receipt.  No specification names one (SSF issue 322 is an idea); this is Weft's own.

A compact JWS (RFC 7515), ES256 by the signals key, `typ` weft-receipt+jwt.  It names the SET by `iss` and `jti`, so that its
transmitter can match it, and whom it hit by digest.
"""

from __future__ import annotations

from typing import Any

import jwt

from schemas.record import Responded
from streams.keys import SigningKey

TYP = "weft-receipt+jwt"


class Signer:
    """The signals key."""

    def __init__(self, key: SigningKey, issuer: str) -> None:
        self._key = key
        self._issuer = issuer
        self.jwk = key.jwk

    def receipt(self, responded: Responded, at: float) -> str:
        """Of this response."""
        told = responded.plain()
        told.pop("value", None)
        return self.sign(TYP, {"iss": self._issuer, "iat": int(at), "response": told})

    def sign(self, typ: str, claims: dict[str, Any]) -> str:
        """A compact JWS of these claims."""
        return jwt.encode(claims, self._key.private, self._key.alg, {"typ": typ, "kid": self._key.kid})
