"""A person's identity provider for demonstrations: it signs RFC 9068 access tokens and publishes a JWK Set.  A library, no server.

It stands outside the fabric: the fabric knows it as a fact of kind `issuer`, by its `iss` and its keys.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from jwt.algorithms import ECAlgorithm

from schemas.facts import UserIssuer
from streams.keys import WrongKey, thumbprint
from streams.secretfile import read_secret, write_secret

LIFE_S = 600


@dataclass(frozen=True, slots=True)
class OIDCProvider:
    """An OpenID provider with one ES256 key."""

    iss: str
    aud: str  # the fabric, as this provider names it
    key: EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def load_or_create(cls, path: Path, iss: str, aud: str) -> OIDCProvider:
        """With the key in this file.  Raises LooseSecret, WrongKey."""
        try:
            key = load_pem_private_key(read_secret(path), password=None)
        except FileNotFoundError:
            key = generate_private_key(SECP256R1())
            write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        if not isinstance(key, EllipticCurvePrivateKey):
            raise WrongKey("not a key for access tokens")
        return cls(iss, aud, key)

    @property
    def kid(self) -> str:
        """RFC 7638 thumbprint."""
        return thumbprint(self._public())

    def fact(self) -> UserIssuer:
        """How the fabric comes to know it."""
        return UserIssuer(iss=self.iss, aud=self.aud, jwks={"keys": [{**self._public(), "kid": self.kid, "alg": "ES256", "use": "sig"}]})

    def issue(self, sub: str, client_id: str, scope: str, *, may_act: str | None = None, life_s: int = LIFE_S) -> str:
        """An access token of this person for this client; `may_act` names an agent that may act with it (RFC 8693 section 4.4)."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.iss,
            "aud": self.aud,
            "sub": sub,
            "client_id": client_id,
            "scope": scope,
            "iat": now,
            "exp": now + life_s,
            "jti": secrets.token_urlsafe(16),
        }
        if may_act is not None:
            claims["may_act"] = {"sub": may_act}
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"typ": "at+jwt", "kid": self.kid})

    def _public(self) -> dict[str, Any]:
        jwk: dict[str, Any] = json.loads(ECAlgorithm.to_jwk(self.key.public_key()))
        return jwk
