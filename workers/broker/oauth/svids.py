"""JWT-SVIDs shown at the token endpoint: as a client's authentication (draft-ietf-oauth-spiffe-client-auth-02), or as an actor token.

Its only audience is our issuer.  It may be shown again: an SVID is used for its whole life (JWT-SVID section 3 leaves replay to short
lives and single audiences).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

from weft.spiffeid import SpiffeID

from schemas.reasons import DenyReason
from workers.common.bundles import Assurance, FactBundles, KeyFacts
from workers.common.credentials import SKEW_S, IdentityRefused, audiences
from workers.common.identity import verify_jwt_svid
from workers.common.svid import MAX_SVID_LIFE_S, attested_instance, lower_assurance


class Here(Protocol):
    """Where it is shown."""

    @property
    def issuer(self) -> str: ...
    @property
    def trust_domain(self) -> str: ...
    @property
    def mode(self) -> Literal["development", "production"]: ...


class ShownSVID(NamedTuple):
    """A workload; the instance where an issuer of ours attests it."""

    workload: SpiffeID
    instance: str | None
    assurance: Assurance
    exp: int
    claims: dict[str, Any]


def read_svid(svid: str, facts: KeyFacts, here: Here, now: float, reason: DenyReason) -> ShownSVID:
    """Raises IdentityRefused.  NOT checked: which workload it is, and of which trust domain."""
    workload, claims, key_assurance = verify_jwt_svid(svid, FactBundles(facts), now=now)
    check_sole_audience(claims, here.issuer, reason)
    if claims["exp"] - now > MAX_SVID_LIFE_S + SKEW_S:
        raise IdentityRefused(reason, "exp is too far away")
    assurance = lower_assurance(claims.get("weft_assurance"), key_assurance)
    if assurance == "development" and here.mode == "production":
        raise IdentityRefused(reason, "a development SVID in a fabric in production")
    instance = attested_instance(claims.get("weft_instance")) if workload.trust_domain == here.trust_domain else None
    return ShownSVID(workload, instance, assurance, claims["exp"], claims)


def check_sole_audience(claims: dict[str, Any], issuer: str, reason: DenyReason) -> None:
    """RFC 7523bis section 4: the issuer identifier, as the sole value."""
    if audiences(claims.get("aud")) != [issuer]:
        raise IdentityRefused(reason, "the audience is not this issuer alone")
