"""What was done about a signal, signed: an action receipt.  No specification names one (SSF issue 322 is an idea); this is Weft's own.

A compact JWS (RFC 7515), ES256 by the signals key, `typ` weft-receipt+jwt.  There are two of each response: `response` says which signal
(its SET by `iss` and `jti`), which rule of which policy at which revision, what was done to whom (by digest), who confirmed it; and
`completion`, once the entry has ended at every enforcement point, how.  Both name the posture's revision.
"""

from __future__ import annotations

from typing import Any, Protocol

import jwt

from schemas.record import Receipted, Responded
from streams.keys import SigningKey

TYP = "weft-receipt+jwt"
OURS = ("value", "message", "deliver", "receipt")  # not for whoever else reads it


class Keys(Protocol):
    """What signs; `workers.signals.ring.Ring` is one."""

    @property
    def current(self) -> SigningKey:
        """The key of the moment."""


class Signer:
    """The signals key of the moment."""

    def __init__(self, keys: Keys, issuer: str) -> None:
        self._keys = keys
        self._issuer = issuer

    def receipt(self, responded: Responded, at: float) -> str:
        """What was done, or left undone, and why."""
        told = {name: value for name, value in responded.plain().items() if name not in OURS}
        return self.sign(TYP, {"iss": self._issuer, "iat": int(at), "response": told})

    def completion(self, told: Receipted, at: float) -> str:
        """Where it arrived.  Points are named by number alone: which ones there are is nobody else's business."""
        done = {name: value for name, value in told.plain().items() if name not in OURS}
        return self.sign(TYP, {"iss": self._issuer, "iat": int(at), "completion": done | {"uncontained": len(told.uncontained)}})

    def sign(self, typ: str, claims: dict[str, Any]) -> str:
        """A compact JWS of these claims."""
        key = self._keys.current
        return jwt.encode(claims, key.private, key.alg, {"typ": typ, "kid": key.kid})
