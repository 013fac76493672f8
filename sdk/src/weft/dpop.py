"""Proofs of possession: DPoP, RFC 9449 sections 4.2 and 4.3.  Made by who holds a token, verified by whoever it is shown to.

The key of a proof is the one that `cnf.jkt` of the token names (RFC 7800, RFC 9449 section 6.1): of an agent's instance, the Ed25519
key that its SVID is bound to.  The checks are numbered as the RFC numbers them.

1. One header, which is the caller's to see to.  2. A single, well-formed JWT.  3. All claims.  4. `typ`.  5. `alg` is one of ours.
6. The signature, by `jwk`.  7. `jwk` is a public key.  8. `htm`.  9. `htu`, compared after normalisation, without query and fragment.
10. The nonce, where one was given out.  11. `iat`.  12. `ath`, and that the token is bound to this key.

NOT checked: whether the proof was seen before.  A verifier that has to know claims `VerifiedProof.claim` until `VerifiedProof.exp`.
All of it is pure: the clock's time, the method and the URL come in, and the URL from configuration rather than from a `Host` header.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from weft import reading as read
from weft.digest import b64u, canonical, sha256
from weft.errors import GuardReason, Malformed, NonceRequired, ProofRefused
from weft.jws import UnverifiedJWS, ed25519_key, eddsa_verifies, es256_key, es256_verifies, parse_jws
from weft.nkey import KeyPair, decode_public
from weft.strictjson import parse_object

PROOF_TYP = "dpop+jwt"
ALGORITHMS = frozenset(("EdDSA", "Ed25519", "ES256"))  # RFC 8037, the same by RFC 9864's name, RFC 7518: what we can verify
LIFE_S = 30  # how long after it was made a proof counts
SKEW_S = 5
MAX_PROOF_BYTES = 4096
MAX_JTI_CHARS = 256

_PRIVATE = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))  # RFC 7518 section 6
_REQUIRED = {"OKP": ("crv", "kty", "x"), "EC": ("crv", "kty", "x", "y")}  # RFC 7638 section 3.2, RFC 8037 section 2
_URL = re.compile(r"[!-~]{1,2048}", re.ASCII)
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}", re.ASCII)
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986 section 2.3
_DEFAULT_PORT = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class VerifiedProof:
    """Whoever sent the request held this key then.  `claim` names the proof among all that this URL could see, `exp` when it is over."""

    jkt: str
    jti: str
    claim: str
    exp: int


def make_proof(key: KeyPair, method: str, url: str, token: str | None = None, *, nonce: str | None = None, now: float | None = None) -> str:
    """A proof for one request, by an Ed25519 nkey; with the token it is shown beside, if any.  Raises Malformed for a URL that is none."""
    payload = {
        "jti": str(uuid.uuid4()),
        "htm": method.upper(),
        "htu": normalised(url),
        "iat": int(time.time() if now is None else now),
        **({} if token is None else {"ath": sha256(token)}),
        **({} if nonce is None else {"nonce": nonce}),
    }
    header = {"typ": PROOF_TYP, "alg": "EdDSA", "jwk": public_jwk(key.public)}
    signing_input = ".".join(b64u(json.dumps(part, separators=(",", ":")).encode()) for part in (header, payload))
    return f"{signing_input}.{b64u(key.sign(signing_input.encode()))}"


def verify_proof(
    unverified: str,
    *,
    method: str,
    url: str,
    now: float,
    token: str | None = None,
    jkt: str | None = None,
    nonce: str | Collection[str] | None = None,
    algorithms: Collection[str] = ALGORITHMS,
) -> VerifiedProof:
    """Steps 2 to 12.  `token` is the one shown beside it, `jkt` the thumbprint that token is bound to, `nonce` the one given out,
    or all of them that still count.

    Raises ProofRefused; NonceRequired where everything but the nonce is right.
    """
    try:
        jws = parse_jws(unverified, MAX_PROOF_BYTES)  # 2
        claims = parse_object(jws.payload, "the proof")
        jwk = _checked_header(jws.header, algorithms)  # 4, 5, 7
        _check_signature(jws, jwk)  # 6
        jti, iat = _identifier(claims), read.seconds(claims, "iat")  # 3
        shown = (read.text(claims, "htm"), normalised(read.text(claims, "htu")))
        wanted = (method.upper(), normalised(url))
    except Malformed as error:
        raise ProofRefused(GuardReason.PROOF_INVALID, str(error)) from None
    if shown != wanted:  # 8, 9
        raise ProofRefused(GuardReason.PROOF_INVALID, "for another request")
    if not now - LIFE_S - SKEW_S <= iat <= now + SKEW_S:  # 11
        raise ProofRefused(GuardReason.PROOF_INVALID, "made too long ago, or in the future")
    thumb = thumbprint(jwk)
    if token is not None and claims.get("ath") != sha256(token):  # 12
        raise ProofRefused(GuardReason.PROOF_INVALID, "of another token")
    if jkt is not None and jkt != thumb:
        raise ProofRefused(GuardReason.NOT_BOUND, "by another key than the token is bound to")
    if nonce is not None and claims.get("nonce") not in ((nonce,) if isinstance(nonce, str) else tuple(nonce)):  # 10
        raise NonceRequired
    return VerifiedProof(thumb, jti, sha256(f"{wanted[1]}\0{jti}"), iat + LIFE_S + SKEW_S)


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638, SHA-256.  Raises Malformed for a key of a kind that we do not use."""
    names = _REQUIRED.get(str(jwk.get("kty")))
    if names is None or not all(isinstance(jwk.get(name), str) for name in names):
        raise Malformed("not a key that we can verify with")
    return sha256(canonical({name: jwk[name] for name in names}))


def public_jwk(nkey: str) -> dict[str, str]:
    """The key behind a public user nkey, RFC 8037 section 2; raises weft.nkey.InvalidKey."""
    return {"kty": "OKP", "crv": "Ed25519", "x": b64u(decode_public(nkey, "U"))}


def normalised(url: str) -> str:
    """Syntax- and scheme-based normalisation (RFC 3986 sections 6.2.2 and 6.2.3) without query and fragment.  Raises Malformed."""
    if not _URL.fullmatch(url):
        raise Malformed("not a URL of ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Malformed("not a URL") from None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORT or not parts.hostname or "@" in parts.netloc:
        raise Malformed("not an http or https URL of a host")
    return f"{scheme}://{_host(parts)}{'' if port in (None, _DEFAULT_PORT[scheme]) else f':{port}'}{_path(parts.path)}"


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""  # lower case already
    return f"[{host}]" if ":" in host else _ENCODED.sub(_decoded, host)


def _path(path: str) -> str:
    """RFC 3986 section 5.2.4, after what need not be encoded was decoded and what must be is in upper case."""
    kept: list[str] = []
    segments = _ENCODED.sub(_decoded, path).split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    ends = "/" if segments and segments[-1] in (".", "..") and kept else ""
    return "/" + "/".join(kept) + ends


def _decoded(match: re.Match[str]) -> str:
    char = chr(int(match[0][1:], 16))
    return char if char in _UNRESERVED else match[0].upper()


def _checked_header(header: Mapping[str, Any], algorithms: Collection[str]) -> dict[str, Any]:
    if header.get("typ") != PROOF_TYP or "crit" in header:
        raise Malformed(f"typ is not {PROOF_TYP}, or something is critical")
    if header.get("alg") not in ALGORITHMS or header["alg"] not in algorithms:
        raise Malformed("alg is not one that is accepted")
    jwk = read.obj(header, "jwk")
    if not _PRIVATE.isdisjoint(jwk):
        raise Malformed("jwk holds a private key")
    return jwk


def _check_signature(jws: UnverifiedJWS, jwk: Mapping[str, Any]) -> None:
    """The key's kind belongs to the algorithm, so that neither is a choice beside the other."""
    alg = jws.header["alg"]
    verifies = es256_verifies(es256_key(jwk), jws) if alg == "ES256" else eddsa_verifies(ed25519_key(jwk), jws)
    if not verifies:
        raise Malformed("the signature does not verify")


def _identifier(claims: Mapping[str, Any]) -> str:
    jti = read.text(claims, "jti")
    if len(jti) > MAX_JTI_CHARS:
        raise Malformed("jti is too long")
    return jti
