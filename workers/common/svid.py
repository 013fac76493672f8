"""JWT-SVIDs: JWT-SVID.md sections 2 and 3, with Weft's profile (design section 5, Binding).

The audience is exactly `weft:<trust domain>:<public nkey>`, so that an SVID is good only beside a proof of that key, which is the
caller's to check.  Deliberately unchecked: whether a `jti` came before (an SVID is used for its whole life), and whether the identity
is registered, active or trusted, which are the decisions that follow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from weft import nkey as nkeys
from weft.digest import b64u, canonical, sha256
from weft.spiffeid import MAX_REGISTERED_BYTES, InvalidSpiffeID, SpiffeID

from schemas.decision import Caller
from schemas.reasons import DenyReason
from streams.subjects import connection_name
from workers.common.bundles import Assurance, TrustBundles
from workers.common.credentials import SKEW_S, IdentityRefused, audiences, check_times, parsed, signed_claims

MAX_SVID_BYTES = 8_192
MAX_SVID_LIFE_S = 3_600  # SPIFFE sets no maximum; SPIRE's default is 300

_INSTANCE = re.compile(r"i[a-z2-7]{26}", re.ASCII)
_JTI = re.compile(r"[!-~]{1,256}", re.ASCII)


@dataclass(frozen=True, slots=True)
class VerifiedSVID:
    """A workload, as the issuer of its trust domain vouches for it."""

    id: SpiffeID
    instance: str
    attested: bool  # the issuer told instances apart; else quarantine falls on the SPIFFE ID
    assurance: Assurance
    nkey: str  # the public key of the connection and of request signatures
    exp: int
    jti: str | None
    jkt: str  # RFC 7638 thumbprint of that key
    iat: int | None = None  # when it was issued, where it says
    name: str = field(init=False)  # the connection's
    caller: Caller = field(init=False)  # as the decision reads it

    def __post_init__(self) -> None:
        caller = Caller(
            id=str(self.id),
            instance=self.instance,
            attested=self.attested,
            assurance=self.assurance,
            jkt=self.jkt,
            svid_exp=self.exp,
            svid_iat=self.iat,
        )
        object.__setattr__(self, "name", connection_name(self.instance, self.id))  # once, since an SVID is used for its whole life
        object.__setattr__(self, "caller", caller)


def audience_of(trust_domain: str, nkey: str) -> str:
    """What an instance asks its Workload API for, to bind the SVID to its key."""
    return f"weft:{trust_domain}:{nkey}"


def thumbprint(nkey: str) -> str:
    """RFC 7638 thumbprint of the OKP key (RFC 8037 section 2) behind a public user nkey; raises weft.nkey.InvalidKey."""
    return sha256(canonical({"crv": "Ed25519", "kty": "OKP", "x": b64u(nkeys.decode_public(nkey, "U"))}))


def verify_jwt_svid(unverified_svid: str, bundles: TrustBundles, *, now: float) -> tuple[SpiffeID, dict[str, Any], Assurance]:
    """The ID, all claims and the signing key's assurance of any JWT-SVID whose bundle we hold.  Raises IdentityRefused.

    1. Compact JWS, one of nine algorithms, no `crit`, a `kid`.  2. `typ` absent, JWT or JOSE.  3. `sub` is a SPIFFE ID.  4. The bundle
    of exactly its trust domain holds the key, and the key signed.  5. Now lies within `exp`, `nbf` and `iat`.
    NOT checked: the audience, which is the caller's.
    """
    jws = parsed(unverified_svid, MAX_SVID_BYTES, DenyReason.SVID_INVALID)  # 1
    if jws.typ not in (None, "JWT", "JOSE"):  # 2
        raise IdentityRefused(DenyReason.SVID_INVALID, "typ is neither JWT nor JOSE")
    workload = _spiffe_id(jws.unverified_payload.get("sub"))  # 3
    found = bundles.svid_key(workload.trust_domain, jws.kid)  # 4
    if found is None:
        raise IdentityRefused(DenyReason.SVID_INVALID, "no bundle of its trust domain holds this kid")
    claims = signed_claims(jws, found.key, DenyReason.SVID_INVALID)
    check_times(claims, now, invalid=DenyReason.SVID_INVALID, expired=DenyReason.SVID_EXPIRED)  # 5
    return workload, claims, found.assurance


def verify_svid(
    unverified_svid: str,
    bundles: TrustBundles,
    *,
    now: float,
    trust_domain: str,
    nkey: str | None = None,
    mode: Literal["development", "production"] = "production",
) -> VerifiedSVID:
    """An SVID of a workload of ours, bound to a key: to `nkey` where the connection shows one.  Raises IdentityRefused.

    1. A valid JWT-SVID.  2. Of our trust domain, short enough to be registered, with a path.  3. Its only audience names this fabric
    and one user nkey, and that is the connection's.  4. It lives no longer than we allow.  5. The instance is one an issuer attests, or
    none, and then follows from the key.  6. A fabric in production takes no development SVID.
    """
    workload, claims, key_assurance = verify_jwt_svid(unverified_svid, bundles, now=now)  # 1
    _check_ours(workload, trust_domain)  # 2
    bound = _bound_key(claims.get("aud"), trust_domain)  # 3
    if nkey is not None and bound != nkey:
        raise IdentityRefused(DenyReason.SVID_NOT_BOUND, "the audience names another key than the connection's")
    _check_life(claims, now)  # 4
    instance, attested = _instance(claims.get("weft_instance"), bound)  # 5
    assurance = lower_assurance(claims.get("weft_assurance"), key_assurance)  # 6
    if assurance == "development" and mode == "production":
        raise IdentityRefused(DenyReason.SVID_INVALID, "a development SVID in a fabric in production")
    return VerifiedSVID(workload, instance, attested, assurance, bound, claims["exp"], _jti(claims), thumbprint(bound), claims.get("iat"))


def _spiffe_id(sub: Any) -> SpiffeID:
    try:
        return SpiffeID.parse(sub if isinstance(sub, str) else "")
    except (InvalidSpiffeID, UnicodeEncodeError):
        raise IdentityRefused(DenyReason.SVID_INVALID, "sub is not a SPIFFE ID") from None


def _check_ours(workload: SpiffeID, trust_domain: str) -> None:
    if workload.trust_domain != trust_domain:
        raise IdentityRefused(DenyReason.SVID_INVALID, "of another trust domain")
    if not workload.segments or len(str(workload)) > MAX_REGISTERED_BYTES:
        raise IdentityRefused(DenyReason.SVID_INVALID, "sub names no workload that can be registered")


def _bound_key(aud: Any, trust_domain: str) -> str:
    named = audiences(aud)
    prefix = audience_of(trust_domain, "")
    if len(named) != 1 or not named[0].startswith(prefix):
        raise IdentityRefused(DenyReason.SVID_NOT_BOUND, "the audience is not exactly a key of this fabric")
    nkey = named[0].removeprefix(prefix)
    try:
        nkeys.decode_public(nkey, "U")
    except nkeys.InvalidKey:
        raise IdentityRefused(DenyReason.SVID_NOT_BOUND, "the audience names no user nkey") from None
    return nkey


def _check_life(claims: Mapping[str, Any], now: float) -> None:
    if claims["exp"] - claims.get("iat", now) > MAX_SVID_LIFE_S or claims["exp"] - now > MAX_SVID_LIFE_S + SKEW_S:
        raise IdentityRefused(DenyReason.SVID_INVALID, f"lives longer than {MAX_SVID_LIFE_S} s")


def _instance(claim: Any, nkey: str) -> tuple[str, bool]:
    attested = attested_instance(claim)
    return (attested, True) if attested is not None else (f"k{nkey[1:27].lower()}", False)


def attested_instance(claim: Any) -> str | None:
    """The instance that an issuer attests, if it tells them apart.  Raises IdentityRefused for what is no instance id."""
    if claim is not None and not (isinstance(claim, str) and _INSTANCE.fullmatch(claim)):
        raise IdentityRefused(DenyReason.SVID_INVALID, "weft_instance is not an instance id")
    return claim


def lower_assurance(claim: Any, of_key: Assurance) -> Assurance:
    """The lower of what the claim and the key's record say: a claim never raises it."""
    if claim not in (None, "development", "production"):
        raise IdentityRefused(DenyReason.SVID_INVALID, "weft_assurance is unknown")
    return "development" if "development" in (claim, of_key) else "production"


def _jti(claims: Mapping[str, Any]) -> str | None:
    jti = claims.get("jti")
    if jti is not None and not (isinstance(jti, str) and _JTI.fullmatch(jti)):
        raise IdentityRefused(DenyReason.SVID_INVALID, "jti is not an identifier")
    return jti
