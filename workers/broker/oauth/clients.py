"""Who asks: the client, by exactly one method, the one that it is registered with.  OAuth 2.1 draft section 2.4.

- `private_key_jwt`: RFC 7523 section 3 as draft-ietf-oauth-rfc7523bis-10 narrows it: our issuer is the only audience.
- `spiffe_jwt`: a JWT-SVID, draft-ietf-oauth-spiffe-client-auth-02.
- `tls_client_auth`, `self_signed_tls_client_auth`: RFC 8705 section 2.  `spiffe_x509`: the SPIFFE draft.  See `certificates`.

A shared secret is never taken.  NOT checked here: whether an assertion was seen before; `Authenticated.once` is what has to be claimed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from weft.digest import sha256
from weft.spiffeid import SpiffeID

from schemas.clients import AuthMethod, workload_of
from schemas.facts import Client, Key, KeyPurpose
from schemas.oauth import Asked
from schemas.reasons import DenyReason
from streams.keys import thumbprint
from workers.broker.oauth.certificates import Presented, matches_client, read_certificate
from workers.broker.oauth.form import Form
from workers.broker.oauth.refusals import BASIC, OAuthRefused, not_authenticated
from workers.broker.oauth.svids import check_sole_audience, read_svid
from workers.common.bundles import Assurance
from workers.common.credentials import SKEW_S, IdentityRefused, check_times, parsed, signed_claims
from workers.common.usertoken import jwks_key

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:"
JWT_BEARER, JWT_SPIFFE = f"{ASSERTION}jwt-bearer", f"{ASSERTION}jwt-spiffe"
MAX_ASSERTION_BYTES = 8192
MAX_ASSERTION_LIFE_S = 300
TYPES = ("", "client-authentication+jwt", "jwt")  # RFC 7523bis: an untyped one is not refused, one of another type is
_INVALID = DenyReason.CLIENT_NOT_AUTHENTICATED


class Facts(Protocol):
    """What of the facts is read; `streams.facts_table.FactsTable` is one."""

    def client(self, client_id: str) -> Client | None:
        """An OAuth client, whatever its state."""

    def clients(self) -> Iterable[Client]:
        """All of them."""

    def keys(self, purpose: KeyPurpose) -> Iterable[Key]:
        """The key facts of one purpose."""


@dataclass(frozen=True, slots=True)
class Once:
    """What counts once: the name under which it is claimed, and when it could no longer be used."""

    key: str
    exp: int


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A client that proved itself."""

    client: Client
    method: AuthMethod
    workload: str | None = None  # a SPIFFE ID: proven by an SVID, or what the client's record says
    instance: str | None = None  # where an issuer attested it
    assurance: Assurance = "production"
    exp: int | None = None  # of the identity it rests on
    jkt: str | None = None  # RFC 7638 thumbprint of the key that it signed with
    x5t: str | None = None  # of the certificate of its connection, whatever it authenticated with
    once: Once | None = None

    @property
    def name(self) -> str:
        """The workload, or the client."""
        return self.workload or self.client.client_id


@dataclass(frozen=True, slots=True)
class Here:
    """Where the client speaks to: what its proof has to be for."""

    issuer: str
    trust_domain: str
    mode: Literal["development", "production"]


def once_of(client_id: str, jti: str, exp: int) -> Once:
    """What a client signed counts once, whether it authenticates with it or shows it as an actor token."""
    return Once(sha256(f"assertion\0{client_id}\0{jti}"), exp)


def authenticate(asked: Asked, form: Form, facts: Facts, here: Here, now: float) -> Authenticated:
    """The client.  Raises OAuthRefused: 401 invalid_client, with one sentence whatever failed."""
    if asked.authorization is not None:
        raise not_authenticated("no credentials in the Authorization header", BASIC)
    if form.get("client_secret") is not None:
        raise not_authenticated("no client has a secret here")
    presented = None if asked.certificate is None else read_certificate(asked.certificate, now)
    try:
        if form.get("client_assertion") is not None or form.get("client_assertion_type") is not None:
            found = _by_assertion(form, facts, here, now)
        elif presented is not None:
            found = _by_certificate(form, facts, presented, here)
        else:
            raise not_authenticated("the client did not authenticate")
    except IdentityRefused:
        raise not_authenticated("the client's authentication does not hold") from None
    if found.client.state != "active":
        raise not_authenticated("the client's authentication does not hold")
    return found if presented is None else _with_certificate(found, presented)


def _by_assertion(form: Form, facts: Facts, here: Here, now: float) -> Authenticated:
    assertion, kind = form.get("client_assertion"), form.get("client_assertion_type")
    if assertion is None or kind is None:
        raise OAuthRefused("invalid_request", "client_assertion and client_assertion_type belong together", _INVALID)
    if kind == JWT_BEARER:
        return _private_key_jwt(assertion, form.get("client_id"), facts, here, now)
    if kind == JWT_SPIFFE:
        return _spiffe_jwt(assertion, form.get("client_id"), facts, here, now)
    raise not_authenticated("not a type of client assertion that is taken")


def _private_key_jwt(assertion: str, client_id: str | None, facts: Facts, here: Here, now: float) -> Authenticated:
    """1. A compact JWS of a type that it may have.  2. `iss`, `sub` and `client_id` name one client, of this method.  3. One of its keys
    signed.  4. The issuer is its only audience.  5. Time, and at most five minutes of life.  6. A `jti`, which is good once.
    """
    jws = parsed(assertion, MAX_ASSERTION_BYTES, _INVALID)  # 1
    if jws.media_type not in TYPES:
        raise IdentityRefused(_INVALID, "typ is another token's")
    named = jws.unverified_payload.get("iss")  # 2
    client = facts.client(named) if isinstance(named, str) else None
    if client is None or client.auth_method != "private_key_jwt" or client.jwks is None:
        raise IdentityRefused(_INVALID, "no client of this method")
    if jws.unverified_payload.get("sub") != client.client_id or client_id not in (None, client.client_id):
        raise IdentityRefused(_INVALID, "iss, sub and client_id differ")
    key = jwks_key(client.jwks, jws)  # 3
    if key is None:
        raise IdentityRefused(_INVALID, "no key of this client")
    claims = signed_claims(jws, key, _INVALID)
    check_sole_audience(claims, here.issuer, _INVALID)  # 4
    check_times(claims, now, invalid=_INVALID, expired=_INVALID)  # 5
    if claims["exp"] - now > MAX_ASSERTION_LIFE_S + SKEW_S:
        raise IdentityRefused(_INVALID, "exp is too far away")
    jti = claims.get("jti")  # 6
    if not isinstance(jti, str) or not 0 < len(jti) <= 256:
        raise IdentityRefused(_INVALID, "jti is missing")
    once = once_of(client.client_id, jti, claims["exp"])
    jwk = next(jwk for jwk in client.jwks["keys"] if jwk.get("kid") == jws.kid)
    return Authenticated(client, "private_key_jwt", workload=client.spiffe_id, jkt=thumbprint(jwk), once=once)


def _spiffe_jwt(svid: str, client_id: str | None, facts: Facts, here: Here, now: float) -> Authenticated:
    """A JWT-SVID for this issuer and nobody else, of a workload that a client of this method is registered for."""
    shown = read_svid(svid, facts, here, now, _INVALID)
    client = _client_of(shown.workload, client_id, "spiffe_jwt", facts)
    return Authenticated(client, "spiffe_jwt", str(shown.workload), shown.instance, shown.assurance, shown.exp)


def _by_certificate(form: Form, facts: Facts, presented: Presented, here: Here) -> Authenticated:
    """RFC 8705 section 2: `client_id` is required.  The SPIFFE draft: it is the SPIFFE ID, of the trust domain whose bundle it is."""
    client_id = form.get("client_id")
    if client_id is None:
        raise OAuthRefused("invalid_request", "client_id is missing", _INVALID)
    if presented.workload is not None and client_id == presented.workload:
        workload = SpiffeID.parse(client_id)
        if workload.trust_domain != here.trust_domain:
            raise IdentityRefused(_INVALID, "an ID of another trust domain than the bundle's")
        client = _client_of(workload, None, "spiffe_x509", facts)
        return Authenticated(client, "spiffe_x509", client_id, exp=presented.exp)
    found = facts.client(client_id)
    if found is None or not matches_client(presented, found):
        raise IdentityRefused(_INVALID, "not a certificate of this client")
    return Authenticated(found, found.auth_method, found.spiffe_id, exp=presented.exp)


def _client_of(workload: SpiffeID, client_id: str | None, method: AuthMethod, facts: Facts) -> Client:
    """The client that this workload is: by its own id, by `client_id`, or the only one registered for it."""
    named = [facts.client(client_id)] if client_id is not None else [facts.client(str(workload)) or None, *facts.clients()]
    fitting = {
        client.client_id: client
        for client in named
        if client is not None
        and client.auth_method == method
        and client.spiffe_id is not None
        and workload_of(client.spiffe_id, str(workload))
    }
    own = fitting.get(str(workload))
    if own is None and len(fitting) != 1:
        raise IdentityRefused(_INVALID, "no client, or more than one, is registered for this workload")
    return own or next(iter(fitting.values()))


def _with_certificate(found: Authenticated, presented: Presented) -> Authenticated:
    """RFC 8705 section 3: tokens can be bound to the connection's certificate whatever the client authenticated with."""
    return replace(found, x5t=presented.x5t)
