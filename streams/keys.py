"""The fabric's own signing keys: one per purpose and holder, as files only their owner reads.  RFC 7518 section 6.2, RFC 8037, RFC 7638.

`tokens`, `signals` and `svid` are ECDSA P-256 keys (ES256), `revocation` is an Ed25519 key (EdDSA): its entries are many and short,
and every point verifies each.  The file is PKCS#8 PEM, mode 0600.  Which worker may load which purpose is its `app.py`'s to keep.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from weft.digest import canonical, sha256

from config.settings import Settings
from streams.secretfile import read_secret, write_secret

Purpose = Literal["tokens", "signals", "svid", "revocation"]
PURPOSES: tuple[Purpose, ...] = ("tokens", "signals", "svid", "revocation")
_ED25519: tuple[Purpose, ...] = ("revocation",)
_THUMBPRINT_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}  # RFC 7638 section 3.2, RFC 8037 section 2


class WrongKey(Exception):
    """The file holds another kind of key than its purpose wants."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, and what of it may be told."""

    private: EllipticCurvePrivateKey | Ed25519PrivateKey = field(repr=False)
    kid: str  # RFC 7638 thumbprint
    jwk: dict[str, Any]  # public, RFC 7517
    alg: Literal["ES256", "EdDSA"]


def load_or_create(settings: Settings, purpose: Purpose) -> SigningKey:
    """The key of this purpose.  Raises LooseSecret, WrongKey."""
    path = settings.keys / f"{purpose}.pem"
    try:
        private = load_pem_private_key(read_secret(path), password=None)
    except FileNotFoundError:
        private = _create(purpose, path)
    return _signing_key(private, purpose)


def _create(purpose: Purpose, path: Path) -> EllipticCurvePrivateKey | Ed25519PrivateKey:
    private = Ed25519PrivateKey.generate() if purpose in _ED25519 else generate_private_key(SECP256R1())
    write_secret(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return private


def _signing_key(private: object, purpose: Purpose) -> SigningKey:
    if purpose in _ED25519 and isinstance(private, Ed25519PrivateKey):
        jwk, alg = json.loads(OKPAlgorithm.to_jwk(private.public_key())), "EdDSA"
        return SigningKey(private, thumbprint(jwk), {**jwk, "alg": alg, "use": "sig", "kid": thumbprint(jwk)}, "EdDSA")
    if purpose not in _ED25519 and isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1):
        jwk, alg = json.loads(ECAlgorithm.to_jwk(private.public_key())), "ES256"
        return SigningKey(private, thumbprint(jwk), {**jwk, "alg": alg, "use": "sig", "kid": thumbprint(jwk)}, "ES256")
    raise WrongKey(f"not a key for {purpose}")


def thumbprint(jwk: dict[str, Any]) -> str:
    """RFC 7638 section 3: SHA-256 over the required members, canonical, base64url."""
    return sha256(canonical({name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}))
