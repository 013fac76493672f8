"""Access tokens of people: RFC 9068 section 4, with RFC 8693 sections 4.1 (`act`) and 4.4 (`may_act`) and RFC 9449 section 6 (`cnf`).

The subject token of a delegation; the actor token beside it is the caller's SVID.  It says what a person allowed an agent.  It reaches no
stream and no log; its digest does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from pydantic import ValidationError
from weft.digest import sha256
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.actors import ActorClaim, Named
from schemas.decision import UserRights
from schemas.facts import UserIssuer
from schemas.reasons import DenyReason
from schemas.token import MAX_HOPS
from workers.common.bundles import cached_key
from workers.common.credentials import IdentityRefused, audiences, check_times, parsed, signed_claims
from workers.common.decision.draft import is_workload
from workers.common.jose import ParsedJWS, PublicKey
from workers.common.people import IDENTIFIER, NoPerson, person_of

MAX_USER_TOKEN_BYTES = 16_384
_ACTOR_MEMBERS = frozenset(("sub", "iss", "sub_profile", "act"))


class TokenIssuers(Protocol):
    """The OpenID providers that the facts name."""

    def issuer(self, iss: str) -> UserIssuer | None:
        """By its exact `iss`."""

    def issuers(self) -> tuple[UserIssuer, ...]:
        """All of them."""


def verify_user_token(unverified_token: str, issuers: TokenIssuers, *, agent_id: str, now: float, jkt: str | None = None) -> UserRights:
    """What a person allowed this agent, which holds the key of thumbprint `jkt`.  Raises IdentityRefused.

    1. Compact JWS, one of nine algorithms, no `crit`, a `kid`.  2. `typ` is at+jwt.  3. `iss` is a provider among the facts, and a key
    of it signed.  4. `aud` holds the name that this provider has for the fabric.  5. Now lies within `exp`, `nbf` and `iat`.
    6. `iat`, `sub`, `client_id` and `jti` are there.  7. `client_id` is this agent, or `may_act` names it; it names nobody
    else.  8. Nobody else acts in it already (`act`).  9. Where it is bound to a key (`cnf`), it is the caller's.
    10. `sub` names a person of this provider and of no other (workers.common.people).
    NOT checked: whether the person is known and delegates; those are relation facts, and an unknown person has no rights.
    """
    jws = parsed(unverified_token, MAX_USER_TOKEN_BYTES, DenyReason.USER_TOKEN_INVALID)  # 1
    if jws.media_type != "at+jwt":  # 2
        raise _refused("typ is not at+jwt")
    issuer = issuers.issuer(text_of(jws.unverified_payload, "iss"))  # 3
    key = None if issuer is None else jwks_key(issuer.jwks, jws)
    if issuer is None or key is None:
        raise _refused("no key of a known issuer")
    claims = signed_claims(jws, key, DenyReason.USER_TOKEN_INVALID)
    if issuer.aud not in audiences(claims.get("aud")):  # 4
        raise _refused("aud is not this fabric")
    check_times(claims, now, invalid=DenyReason.USER_TOKEN_INVALID, expired=DenyReason.USER_TOKEN_INVALID)  # 5
    if "iat" not in claims:  # 6
        raise _refused("iat is missing")
    text_of(claims, "jti")
    client_id, may_act = text_of(claims, "client_id"), party_of(claims, "may_act", issuer)
    if agent_id not in (client_id, may_act):  # 7
        raise _refused("neither client_id nor may_act names this agent")
    if may_act not in (None, agent_id):
        raise _refused("may_act names another")
    acting = acting_in(claims)
    if party_of(claims, "act", issuer) not in (None, agent_id):  # 8
        raise _refused("somebody else acts in it")
    if "cnf" in claims and (jkt is None or claims["cnf"] != {"jkt": jkt}):  # 9
        raise _refused("bound to a key that the caller has not shown")
    return UserRights(
        sub=whom(claims, issuer, issuers.issuers()),  # 10
        iss=issuer.iss,
        scope=scope_of(claims.get("scope", "")),
        client_id=client_id,
        may_act=may_act,
        exp=claims["exp"],
        acted=None if acting is None else acting.act,
        digest=sha256(unverified_token),
    )


def whom(claims: Mapping[str, Any], issuer: UserIssuer, issuers: Iterable[UserIssuer]) -> str:
    """The person whom a provider's claims are about, as this fabric calls them.  Raises IdentityRefused."""
    try:
        return person_of(issuer, text_of(claims, "sub"), issuers)
    except NoPerson as nobody:
        raise _refused(str(nobody)) from None


def _refused(detail: str) -> IdentityRefused:
    return IdentityRefused(DenyReason.USER_TOKEN_INVALID, detail)


def text_of(claims: Mapping[str, Any], name: str) -> str:
    """An identifier among the claims.  Raises IdentityRefused."""
    value = claims.get(name)
    if not isinstance(value, str) or not IDENTIFIER.fullmatch(value):
        raise _refused(f"{name} is missing or not an identifier")
    return value


def jwks_key(jwks: Mapping[str, Any], jws: ParsedJWS) -> PublicKey | None:
    """RFC 7517 section 4: of this `kid`, meant for signatures (`use`) and for this `alg`, where it says so."""
    for jwk in (element for element in jwks.get("keys", ()) if isinstance(element, dict)):
        if jwk.get("kid") == jws.kid and jwk.get("use", "sig") == "sig" and jwk.get("alg", jws.alg) == jws.alg:
            return cached_key(jwk)
    return None


def party_of(claims: Mapping[str, Any], name: str, issuer: UserIssuer) -> str | None:
    """RFC 8693 sections 4.1 and 4.4: who is named.  Raises IdentityRefused.

    An `iss` beside the name has to be one whose names we know: the token's own, or this fabric.
    """
    claim = claims.get(name)
    if claim is None:
        return None
    if not isinstance(claim, dict) or claim.get("iss", issuer.iss) not in (issuer.iss, issuer.aud):
        raise _refused(f"{name} is not a party of a known issuer")
    return text_of(claim, "sub")


def acting_in(claims: Mapping[str, Any]) -> ActorClaim | None:
    """RFC 8693 section 4.1: who acts in it, and acted before, as it stands.  Raises IdentityRefused.

    What is handed on is never more than names, and never less than all of them: a member that we do not know refuses the token.
    """
    claim = claims.get("act")
    if claim is None:
        return None
    inner: Any = claim
    for _ in range(MAX_HOPS):
        if not isinstance(inner, dict) or not inner.keys() <= _ACTOR_MEMBERS:
            raise _refused("act holds more than sub, iss, sub_profile and act")
        inner = inner.get("act")
        if inner is None:
            break
    else:
        raise _refused(f"act is nested deeper than {MAX_HOPS}")
    try:
        act = ActorClaim.model_validate(claim)
        for workload in (actor.sub for actor in act.line() if is_workload(actor.sub)):
            SpiffeID.parse(workload)  # another spelling of an ID would be out of reach of what is said about it
    except (ValidationError, InvalidSpiffeID):
        raise _refused("act names nobody") from None
    return act


def named_in(claims: Mapping[str, Any]) -> Named | None:
    """RFC 8693 section 4.4: whom `may_act` names.  Raises IdentityRefused, also where it says more of them than could be compared."""
    claim = claims.get("may_act")
    if claim is None:
        return None
    try:
        return Named.model_validate(claim)
    except ValidationError:
        raise _refused("may_act is not sub and iss of a party") from None


def scope_of(claim: Any) -> tuple[str, ...]:
    """RFC 8693 section 4.2: a list separated by spaces."""
    if not isinstance(claim, str):
        raise _refused("scope is not text")
    return tuple(dict.fromkeys(claim.split()))
