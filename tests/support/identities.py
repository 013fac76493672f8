"""Signers for tests: JWT-SVIDs and users' tokens, good and bad, made without the code under test."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm, get_default_algorithms
from weft.digest import b64u
from weft.nkey import KeyPair

from schemas.facts import Key

TRUST_DOMAIN = "88mph.com"
ADVISOR = "spiffe://88mph.com/agents/advisor"
INSTANCE = "i" + "a2" * 13
NOW = 1_800_000_000

_CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


class Signer:
    """A private key with a `kid`, and the JWS it signs."""

    def __init__(self, alg: str = "ES256", kid: str = "k1") -> None:
        self.alg, self.kid = alg, kid
        self.private: Any = (
            ec.generate_private_key(_CURVES[alg]) if alg in _CURVES else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )

    @property
    def public(self) -> Any:
        return self.private.public_key()

    @property
    def jwk(self) -> dict[str, Any]:
        algorithm = ECAlgorithm if self.alg in _CURVES else RSAAlgorithm
        return {**json.loads(algorithm.to_jwk(self.public)), "kid": self.kid}

    def sign(self, payload: dict[str, Any] | bytes, alg: str | None = None, **header: Any) -> str:
        """A compact JWS; `header` members replace the usual ones, None removes one."""
        usual = {"alg": alg or self.alg, "kid": self.kid, "typ": "JWT"}
        head = {name: value for name, value in {**usual, **header}.items() if value is not None}
        return self.raw(json.dumps(head).encode(), payload if isinstance(payload, bytes) else json.dumps(payload).encode(), alg)

    def raw(self, head: bytes, body: bytes, alg: str | None = None) -> str:
        """A compact JWS over exactly these bytes."""
        text = f"{b64u(head)}.{b64u(body)}"
        signature = get_default_algorithms()[alg or self.alg].sign(text.encode(), self.private)
        return f"{text}.{b64u(signature)}"

    def fact(self, trust_domain: str = TRUST_DOMAIN, **fields: Any) -> Key:
        """As a key fact."""
        values = {"purpose": "svid", "kid": self.kid, "jwk": self.jwk, "trust_domain": trust_domain, **fields}
        return Key(**values)


class Keys:
    """The one question that FactBundles asks of the facts."""

    def __init__(self, *facts: Key) -> None:
        self.facts = facts

    def keys(self, purpose: str) -> tuple[Key, ...]:
        return tuple(fact for fact in self.facts if fact.purpose == purpose)


def svid_claims(nkey: str, *, now: float = NOW, **changes: Any) -> dict[str, Any]:
    """The claims of a good SVID; `changes` replace, None removes."""
    good = {
        "sub": ADVISOR,
        "aud": f"weft:{TRUST_DOMAIN}:{nkey}",
        "exp": int(now) + 300,
        "iat": int(now),
        "jti": "one",
        "weft_instance": INSTANCE,
        "weft_assurance": "development",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def user_claims(*, now: float = NOW, **changes: Any) -> dict[str, Any]:
    """The claims of a good access token of a person."""
    good = {
        "iss": "https://login.88mph.com",
        "aud": "https://fabric.88mph.com",
        "sub": "martymcfly@88mph.com",
        "client_id": ADVISOR,
        "scope": "refund check",
        "exp": int(now) + 300,
        "iat": int(now),
        "jti": "two",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def user_key() -> KeyPair:
    """A connection's key."""
    return KeyPair("U")
