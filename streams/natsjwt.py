"""NATS JWTs and sealed boxes.  NATS ADR-14 (JWT library) and ADR-26 (authorization callout); nkeys are `weft.nkey`.

A NATS JWT is a compact JWS with the header `{"typ":"JWT","alg":"ed25519-nkey"}`, signed by the nkey that its own `iss` names: `decode`
proves only that, and whether that issuer may say it is the caller's to decide.  A sealed box is `xkv1`, 24 bytes of nonce and a
NaCl box (X25519, XSalsa20-Poly1305).  PyPI `nkeys` has no curve keys; this module is checked against it where the two overlap.

No error repeats a part of its input, which may be a bearer token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey
from weft.digest import b64u, unb64u
from weft.nkey import InvalidKey, InvalidSignature, KeyPair, Kind, decode_public, decode_seed, encode_public, encode_seed, verify

MAX_JWT_BYTES = 65_536
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_HEADER_TEXT = b64u(json.dumps(_HEADER, separators=(",", ":")).encode())
_SEAL_PREFIX = b"xkv1"


class InvalidJWT(ValueError):
    """Not a NATS JWT, not signed by its issuer, or expired."""


class InvalidBox(ValueError):
    """Not a box sealed for this key by that sender."""


def encode(claims: Mapping[str, Any], signer: KeyPair, *, now: float | None = None) -> str:
    """Sign claims.  `iss`, `iat` and `jti` (the base32 SHA-512/256 of the rest, as nats-io/jwt does) are set here."""
    signed = {**claims, "iss": signer.public, "iat": int(time.time() if now is None else now)}
    signed.pop("jti", None)
    digest = hashlib.new("sha512_256", json.dumps(signed, sort_keys=True).encode()).digest()
    signed["jti"] = base64.b32encode(digest).decode().rstrip("=")
    body = f"{_HEADER_TEXT}.{b64u(json.dumps(signed, separators=(',', ':')).encode())}"
    return f"{body}.{b64u(signer.sign(body.encode()))}"


def decode(unverified_jwt: str, issuer_kind: Kind, *, now: float | None = None) -> dict[str, Any]:
    """Claims of a JWT that its own issuer, an nkey of that kind, signed.  Raises InvalidJWT.

    1. Size and three parts.  2. The header is exactly ours.  3. The claims are a JSON object with `iss`.  4. Signature.  5. `exp`.
    Does NOT check who the issuer is.
    """
    parts = unverified_jwt.split(".") if len(unverified_jwt) <= MAX_JWT_BYTES else []
    if len(parts) != 3:  # 1
        raise InvalidJWT("not three parts, or too long")
    header, claims = _json_object(parts[0]), _json_object(parts[1])
    if header != _HEADER:  # 2
        raise InvalidJWT("not a NATS JWT")
    issuer = claims.get("iss")
    if not isinstance(issuer, str):  # 3
        raise InvalidJWT("no issuer")
    try:  # 4
        verify(issuer, issuer_kind, f"{parts[0]}.{parts[1]}".encode(), unb64u(parts[2]))
    except (InvalidKey, InvalidSignature, ValueError):
        raise InvalidJWT("the signature does not verify") from None
    expires = claims.get("exp", 0)
    if not isinstance(expires, int) or (expires and (time.time() if now is None else now) > expires):  # 5
        raise InvalidJWT("expired")
    return claims


class CurveKey:
    """An X25519 nkey.  `public` may be shown to anyone; `seed` is the secret."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._key = PrivateKey(secret or os.urandom(32))
        self.public = encode_public("X", bytes(self._key.public_key))

    @classmethod
    def from_seed(cls, seed: str) -> CurveKey:
        """Raises InvalidKey."""
        kind, secret = decode_seed(seed)
        if kind != "X":
            raise InvalidKey("not a curve nkey")
        return cls(secret)

    @property
    def seed(self) -> str:
        """The secret, as text."""
        return encode_seed("X", bytes(self._key))

    def seal(self, message: bytes, recipient: str) -> bytes:
        """A box that only `recipient` opens and that names us as its maker.  Raises InvalidKey."""
        return _SEAL_PREFIX + bytes(self._box(recipient).encrypt(message))

    def open(self, sealed: bytes, sender: str) -> bytes:
        """The message that `sender` sealed for us.  Raises InvalidKey or InvalidBox."""
        if sealed[: len(_SEAL_PREFIX)] != _SEAL_PREFIX:
            raise InvalidBox("not a sealed box")
        try:
            return self._box(sender).decrypt(sealed[len(_SEAL_PREFIX) :])
        except (CryptoError, ValueError, TypeError) as error:
            if isinstance(error, InvalidKey):
                raise
            raise InvalidBox("the box does not open") from None

    def _box(self, other: str) -> Box:
        return Box(self._key, PublicKey(decode_public(other, "X")))

    def __repr__(self) -> str:
        return f"CurveKey({self.public})"


def _json_object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(unb64u(part))
    except (ValueError, RecursionError):
        raise InvalidJWT("a part is not base64url JSON") from None
    if not isinstance(value, dict):
        raise InvalidJWT("a part is not a JSON object")
    return value
