"""JWS compact serialisation, read strictly.  RFC 7515 sections 3.1 and 7.1; RFC 8725 sections 3.1, 3.10 and 3.11.

One algorithm and one `typ` per caller, the header exactly `alg`, `typ`, `kid`: so no `crit`, `jwk`, `jku`, `x5c` or `b64` is ever
looked at.  Base64url is canonical, so a token has one spelling and its digest names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from weft.digest import unb64u
from weft.errors import Malformed
from weft.strictjson import parse_object

_ES256 = ECDSA(SHA256())
_HEADER = frozenset(("alg", "typ", "kid"))


@dataclass(frozen=True, slots=True, repr=False)
class UnverifiedJWS:
    """The parts; nothing is verified."""

    header: dict[str, Any]
    payload: bytes
    signing_input: bytes
    signature: bytes

    def kid(self, alg: str, typ: str) -> str:
        """The key's id, once the header is exactly what this caller accepts; raises Malformed."""
        kid = self.header.get("kid")
        if self.header.keys() != _HEADER or self.header["alg"] != alg or self.header["typ"] != typ or not isinstance(kid, str):
            raise Malformed(f"the header is not exactly alg {alg}, typ {typ} and a kid")
        return kid


def parse_jws(unverified: str, max_bytes: int) -> UnverifiedJWS:
    """Text to its parts; raises Malformed.  The size is checked before anything is read."""
    if len(unverified) > max_bytes:
        raise Malformed("the JWS is too large")
    signing_input, dot, signature = unverified.rpartition(".")
    header, middle, payload = signing_input.partition(".")
    if not (dot and middle) or "." in payload:
        raise Malformed("not three parts")
    try:
        return UnverifiedJWS(parse_object(unb64u(header), "the header"), unb64u(payload), signing_input.encode("ascii"), unb64u(signature))
    except Malformed:
        raise
    except ValueError:
        raise Malformed("a part is not canonical base64url") from None


def es256_key(jwk: Mapping[str, Any]) -> EllipticCurvePublicKey:
    """A P-256 public key from its JWK (RFC 7518 section 6.2.1); raises Malformed."""
    x, y = (int.from_bytes(raw, "big") for raw in _coordinates(jwk, "EC", "P-256", ("x", "y")))
    try:
        return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    except ValueError:
        raise Malformed("not a point of P-256") from None


def ed25519_key(jwk: Mapping[str, Any]) -> bytes:
    """The 32 bytes of an Ed25519 public key from its JWK (RFC 8037 section 2); raises Malformed."""
    return _coordinates(jwk, "OKP", "Ed25519", ("x",))[0]


def _coordinates(jwk: Mapping[str, Any], kty: str, crv: str, names: tuple[str, ...]) -> list[bytes]:
    if jwk.get("kty") != kty or jwk.get("crv") != crv or not all(isinstance(jwk.get(name), str) for name in names):
        raise Malformed(f"not a public {crv} key in JWK form")
    try:
        raw = [unb64u(jwk[name]) for name in names]
    except ValueError:
        raise Malformed("a coordinate is not canonical base64url") from None
    if any(len(coordinate) != 32 for coordinate in raw):
        raise Malformed("a coordinate is not 32 bytes")
    return raw


def es256_verifies(key: EllipticCurvePublicKey, jws: UnverifiedJWS) -> bool:
    """RFC 7518 section 3.4: the signature is r and s, 32 bytes each, big endian."""
    if len(jws.signature) != 64:
        return False
    r, s = int.from_bytes(jws.signature[:32], "big"), int.from_bytes(jws.signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), jws.signing_input, _ES256)
    except InvalidSignature:
        return False
    return True


def eddsa_verifies(key: bytes, jws: UnverifiedJWS) -> bool:
    """RFC 8037 section 3.1, with Ed25519."""
    try:
        VerifyKey(key).verify(jws.signing_input, jws.signature)
    except (CryptoError, ValueError, TypeError):
        return False
    return True
