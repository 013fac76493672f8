"""JWT-SVIDs, signed.  JWT-SVID.md sections 2 and 3, with Weft's `weft_instance` and `weft_assurance`."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

LIFE_S = 300  # SPIRE's default


@dataclass(frozen=True, slots=True)
class SVIDSigner:
    """The key of a development trust domain."""

    trust_domain: str
    kid: str
    key: EllipticCurvePrivateKey = field(repr=False)

    def issue(self, spiffe_id: str, audience: str, instance: str, now: float) -> str:
        """An SVID of one audience: a second one could replay it to the first (JWT-SVID section 7.2)."""
        claims = {
            "sub": spiffe_id,
            "aud": audience,
            "iat": int(now),
            "exp": int(now) + LIFE_S,
            "jti": secrets.token_urlsafe(16),
            "weft_instance": instance,
            "weft_assurance": "development",
        }
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": self.kid, "typ": "JWT"})
