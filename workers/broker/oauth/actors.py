"""Actor tokens: who acts, where it is not the client by its authentication alone.  RFC 8693 section 2.1 and 4.1.

| type | who vouches | what it must be |
|---|---|---|
| `jwt` | the trust domain's issuer of SVIDs | a JWT-SVID of a workload of this trust domain, for our issuer alone |
| `access_token` | Weft | the actor's own (client_credentials), for the fabric alone |
| `self_signed` | the client, with the key it authenticates with | of the client itself, for our issuer alone, good once |

An actor token is the actor's own credential, never somebody's delegate (draft-mcguinness-oauth-actor-profile-00): one that carries
`act`, that is for a call, or that came of an exchange is refused, as is a person's.  NOT checked here: whether this client may bring this
actor, and how the actor stands, which are the decision's (`workers.common.decision.acting`).  All refusals are OAuthRefused
(invalid_request, RFC 8693 section 2.2.2), and repeat nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from weft.digest import sha256
from weft.spiffeid import MAX_REGISTERED_BYTES

from config.settings import Settings
from schemas.clients import ActorType
from schemas.exchange import Acting
from schemas.reasons import DenyReason
from workers.broker.oauth.clients import MAX_ASSERTION_LIFE_S, Authenticated, Once, once_of
from workers.broker.oauth.form import ActorToken
from workers.broker.oauth.owntokens import own_signed
from workers.broker.oauth.refusals import OAuthRefused
from workers.broker.oauth.subjects import Reading
from workers.broker.oauth.svids import read_svid
from workers.common.accesstoken import AccessTokenRefused, verify_access_token
from workers.common.credentials import SKEW_S, IdentityRefused
from workers.common.usertoken import text_of

_INVALID = DenyReason.ACTOR_TOKEN_INVALID


class Brought(NamedTuple):
    """A verified actor token, and what has to be claimed before anything is issued for it."""

    acting: Acting
    once: Once | None = None


def read_actor(shown: ActorToken, client: Authenticated, reading: Reading, settings: Settings) -> Brought:
    """Raises OAuthRefused."""
    try:
        return _READERS[shown.type](shown.token, client, reading, settings)
    except IdentityRefused as refused:
        raise OAuthRefused("invalid_request", f"actor_token: {refused.detail}", _INVALID) from None


def _svid(token: str, client: Authenticated, reading: Reading, settings: Settings) -> Brought:
    found = read_svid(token, reading.facts, settings, reading.now, _INVALID)
    workload, claims = found.workload, found.claims
    if workload.trust_domain != settings.trust_domain or not workload.segments or len(str(workload)) > MAX_REGISTERED_BYTES:
        raise IdentityRefused(_INVALID, "not a workload of this trust domain")
    if "act" in claims:
        raise IdentityRefused(_INVALID, "somebody's delegate does not act for another")
    if "cnf" in claims and claims["cnf"] not in ({"jkt": client.jkt}, {"x5t#S256": client.x5t}):
        raise IdentityRefused(_INVALID, "bound to a key that the request did not prove")
    return Brought(
        Acting(
            type="jwt",
            workload=str(workload),
            instance=found.instance,
            assurance=found.assurance,
            exp=found.exp,
            digest=sha256(token),
        )
    )


def _access_token(token: str, client: Authenticated, reading: Reading, _: Settings) -> Brought:
    """One that a resource server was shown as well is none: it could be brought by whoever serves that."""
    issuer = reading.issuer
    try:
        found = verify_access_token(
            token, reading.facts, reading.revocations, issuer=issuer, audience=issuer, now=reading.now, jkt=client.jkt, x5t=client.x5t
        )
    except AccessTokenRefused as refused:
        raise IdentityRefused(_INVALID, refused.detail) from None
    claims = found.claims
    if found.audiences != {issuer}:
        raise IdentityRefused(_INVALID, "for others than the fabric too")
    if claims.act is not None or claims.call is not None or claims.req_chain:
        raise IdentityRefused(_INVALID, "somebody's delegate does not act for another")
    if claims.sub != claims.client_id:
        raise IdentityRefused(_INVALID, "a person's: no person acts for another here")
    return Brought(
        Acting(
            type="access_token",
            client_id=claims.client_id,
            workload=claims.workload,
            exp=claims.exp,
            jti=claims.jti,
            digest=found.digest,
        )
    )


def _self_signed(token: str, client: Authenticated, reading: Reading, _: Settings) -> Brought:
    claims = own_signed(token, client, issuer=reading.issuer, now=reading.now, reason=_INVALID)
    client_id = client.client.client_id
    if text_of(claims, "sub") not in (client_id, client.workload):
        raise IdentityRefused(_INVALID, "a client speaks for itself alone")
    if "act" in claims:
        raise IdentityRefused(_INVALID, "somebody's delegate does not act for another")
    if claims["exp"] - reading.now > MAX_ASSERTION_LIFE_S + SKEW_S:
        raise IdentityRefused(_INVALID, "exp is too far away")
    once = once_of(client_id, text_of(claims, "jti"), claims["exp"])
    acting = Acting(type="self_signed", client_id=client_id, workload=client.workload, exp=claims["exp"], digest=sha256(token))
    return Brought(acting, once)


_READERS: dict[ActorType, Callable[[str, Authenticated, Reading, Settings], Brought]] = {
    "jwt": _svid,
    "access_token": _access_token,
    "self_signed": _self_signed,
}
