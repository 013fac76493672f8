"""Compact JWS, strictly.  RFC 7515 sections 3.1, 4.1 and 7.1, RFC 7518 section 3, RFC 8725 sections 3.1 to 3.4.

For what others sign and we must verify: JWT-SVIDs and users' access tokens.  Stricter than PyJWT's own decoding: canonical
base64url, no duplicate member names, no extension we would have to understand (`crit`), a `kid` always, and a key whose type and
curve belong to the `alg`.  Keys that travel in the header (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.  Claims are the caller's.

No message of `JWSRefused` or `KeyRefused` repeats a part of its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm, RSAPSSAlgorithm
from jwt.exceptions import InvalidKeyError
from weft.digest import unb64u
from weft.errors import Malformed
from weft.strictjson import parse_object

PublicKey = EllipticCurvePublicKey | RSAPublicKey

MAX_KID_CHARS = 128
MIN_RSA_BITS = 2048  # RFC 7518 sections 3.3 and 3.5

_EC_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_EC = {
    "ES256": ECAlgorithm(ECAlgorithm.SHA256),
    "ES384": ECAlgorithm(ECAlgorithm.SHA384),
    "ES512": ECAlgorithm(ECAlgorithm.SHA512),
}
_RSA = {
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "RS384": RSAAlgorithm(RSAAlgorithm.SHA384),
    "RS512": RSAAlgorithm(RSAAlgorithm.SHA512),
    "PS256": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA256),
    "PS384": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA384),
    "PS512": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA512),
}
ALGORITHMS = frozenset(_EC) | frozenset(_RSA)  # the nine of JWT-SVID section 2.1: asymmetric, so neither `none` nor a MAC


class JWSRefused(ValueError):
    """Not a compact JWS that we verify, or not signed by this key."""


class KeyRefused(ValueError):
    """Not a public key that we verify with."""


@dataclass(frozen=True, slots=True)
class ParsedJWS:
    """Taken apart, not verified: nothing in here may be believed before `verify_signature`."""

    alg: str
    kid: str
    typ: str | None
    unverified_payload: dict[str, Any] = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """`typ` as RFC 7515 section 4.1.9 compares it: without case, `application/` left off; empty if absent."""
        return (self.typ or "").lower().removeprefix("application/")


def parse_jws(unverified: str, *, max_bytes: int) -> ParsedJWS:
    """Text to its parts.  Raises JWSRefused.

    1. Size, before anything is read.  2. Three parts of canonical base64url.  3. Header and payload are JSON objects without
    duplicate names.  4. `alg` is one of the nine, `kid` is there, `typ` is text, nothing is critical.
    """
    if len(unverified) > max_bytes:  # 1: characters; anything outside ASCII falls in step 2
        raise JWSRefused(f"longer than {max_bytes} bytes")
    parts = unverified.split(".")
    if len(parts) != 3:  # 2
        raise JWSRefused("not three parts")
    try:
        head, body, signature = (unb64u(part) for part in parts)
    except ValueError:
        raise JWSRefused("a part is not base64url") from None
    try:
        header, payload = parse_object(head, "the header"), parse_object(body, "the payload")  # 3
    except Malformed as error:
        raise JWSRefused(str(error)) from None
    alg, kid, typ = _header(header)  # 4
    return ParsedJWS(alg, kid, typ, payload, f"{parts[0]}.{parts[1]}".encode(), signature)


def verify_signature(jws: ParsedJWS, key: PublicKey) -> None:
    """Raises JWSRefused unless this key, by its type and curve a key for `jws.alg`, made the signature."""
    if not _fits(jws.alg, key):
        raise JWSRefused("the key is not one for this alg")
    if isinstance(key, EllipticCurvePublicKey):
        good = _EC[jws.alg].verify(jws.signing_input, key, jws.signature)
    else:
        good = _RSA[jws.alg].verify(jws.signing_input, key, jws.signature)
    if not good:
        raise JWSRefused("the signature does not verify")


def public_key(jwk: Mapping[str, Any]) -> PublicKey:
    """A JWK (RFC 7517) of kty EC or RSA to a key.  Raises KeyRefused, for private keys and short ones too."""
    if "d" in jwk:
        raise KeyRefused("a private key")
    if jwk.get("kty") not in ("EC", "RSA"):
        raise KeyRefused("kty is neither EC nor RSA")
    try:
        key = ECAlgorithm.from_jwk(dict(jwk)) if jwk["kty"] == "EC" else RSAAlgorithm.from_jwk(dict(jwk))
    except (InvalidKeyError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError):
        raise KeyRefused("not a key of its kty") from None
    if not isinstance(key, EllipticCurvePublicKey | RSAPublicKey) or not any(_fits(alg, key) for alg in ALGORITHMS):
        raise KeyRefused("a key for none of the algorithms")
    return key


def _fits(alg: str, key: PublicKey) -> bool:
    if isinstance(key, EllipticCurvePublicKey):
        return _EC_CURVES.get(alg) == key.curve.name
    return alg in _RSA and key.key_size >= MIN_RSA_BITS


def _header(header: dict[str, Any]) -> tuple[str, str, str | None]:
    alg, kid, typ = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise JWSRefused("alg is not allowed")
    if "crit" in header:  # RFC 7515 section 4.1.11: we understand no extension
        raise JWSRefused("crit is not understood")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_CHARS:
        raise JWSRefused("kid is missing")
    if "typ" in header and not isinstance(typ, str):
        raise JWSRefused("typ is not text")
    return alg, kid, typ
