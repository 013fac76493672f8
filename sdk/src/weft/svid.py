"""A caller's JWT-SVID for a tool's audience, as the tool's guard verifies it.  SPIFFE JWT-SVID sections 2, 3 and 5.

1. Compact JWS, one of the nine algorithms, a `kid`, nothing critical.  2. `typ` absent, JWT or JOSE.  3. `sub` is a SPIFFE ID.  4. The
bundle of exactly its trust domain holds the key, and the key signed.  5. The audience is the tool's, and no other.  6. `exp` lies ahead;
`iat` and `nbf`, where they are, do not.

It says who calls and nothing of what was allowed: the decision is in the Transaction Token beside it, which the guard holds it against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jwt import PyJWK, PyJWT
from jwt.exceptions import PyJWTError

from weft import reading as read
from weft.errors import GuardReason, Malformed, Refused
from weft.jws import parse_jws
from weft.spiffeid import SpiffeID
from weft.strictjson import parse_object

ALGORITHMS = ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")  # JWT-SVID section 2.1
MAX_SVID_BYTES = 8192
SKEW_S = 5

_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA = frozenset(alg for alg in ALGORITHMS if not alg.startswith("ES"))
_JWS = PyJWT()


@dataclass(frozen=True, slots=True)
class BundleKey:
    """A public key, and what it may have signed with: a curve belongs to one algorithm, an RSA key to six."""

    key: Any
    algorithms: frozenset[str]


BundleKeys = Mapping[tuple[str, str], BundleKey]  # by trust domain and `kid`


@dataclass(frozen=True, slots=True)
class CallerSVID:
    """Who calls.  `instance` where the issuer tells instances apart."""

    id: str
    instance: str | None


def bundle_key(jwk: Mapping[str, Any]) -> BundleKey | None:
    """A key of a bundle; none where it cannot be read, which is as good as absent."""
    curve = _CURVES.get(str(jwk.get("crv")))
    algorithms = frozenset((curve,)) if curve is not None else _RSA
    try:
        return BundleKey(PyJWK(dict(jwk), algorithm=min(algorithms)).key, algorithms)
    except PyJWTError:
        return None


def verify_caller(unverified: str | None, keys: BundleKeys, *, audience: str, now: float) -> CallerSVID:
    """All steps; raises Refused."""
    if unverified is None:
        raise Refused(GuardReason.SVID_INVALID, "the tool's record asks for a JWT-SVID")
    try:
        return _verified(unverified, keys, audience, now)
    except Malformed as error:
        raise Refused(GuardReason.SVID_INVALID, str(error)) from None


def _verified(unverified: str, keys: BundleKeys, audience: str, now: float) -> CallerSVID:
    jws = parse_jws(unverified, MAX_SVID_BYTES)  # 1
    header, claims = jws.header, parse_object(jws.payload, "the SVID")
    alg, kid = header.get("alg"), header.get("kid")
    if alg not in ALGORITHMS or not isinstance(kid, str) or "crit" in header:
        raise Malformed("the SVID's header is not one of an SVID")
    if header.get("typ", "JWT") not in ("JWT", "JOSE"):  # 2
        raise Malformed("the SVID's typ is neither JWT nor JOSE")
    workload = SpiffeID.parse(read.spiffe_id(claims, "sub"))  # 3
    key = keys.get((workload.trust_domain, kid))  # 4
    if key is None or not _signed(unverified, key, str(alg)):
        raise Malformed("no key of the SVID's trust domain signed it")
    if claims.get("aud") not in (audience, [audience]):  # 5
        raise Malformed("the SVID is for another audience")
    _check_times(claims, now)  # 6
    instance = claims.get("weft_instance")
    return CallerSVID(str(workload), instance if read.is_instance(instance) else None)


def _signed(unverified: str, key: BundleKey, alg: str) -> bool:
    """PyJWT, for the sake of its nine algorithms; the claims were read from the very same bytes."""
    checks = {
        "verify_signature": True,
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
        "verify_aud": False,
        "verify_sub": False,
    }
    if alg not in key.algorithms:
        return False
    try:
        _JWS.decode(unverified, key.key, algorithms=[alg], options=checks)  # type: ignore[arg-type]
    except PyJWTError:
        return False
    return True


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    if read.seconds(claims, "exp") <= now:
        raise Malformed("the SVID has expired")
    if any(read.seconds(claims, name) > now + SKEW_S for name in ("iat", "nbf") if name in claims):
        raise Malformed("the SVID is of the future")
