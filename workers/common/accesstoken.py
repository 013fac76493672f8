"""Access tokens that Weft issued: RFC 9068 section 4, RFC 9449 section 7.1, RFC 8705 section 3.  Those of people are `usertoken`.

For what takes such a token as its bearer's right: introspection, token exchange, the management of signal streams.  Nothing is kept:
whether a token is revoked, and whether its client still is one, is asked of the views each time.  No message repeats a part of a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

from pydantic import ValidationError
from weft.digest import sha256, target_digest, unb64u
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.accesstoken import ACCESS_TYP, MAX_ACCESS_TOKEN_BYTES, AccessTokenClaims
from schemas.actors import ActorClaim
from schemas.facts import Agent, Client, Key, KeyPurpose
from schemas.token import MAX_TTL_S, SKEW_S, TOKEN_ALG
from workers.common.bundles import cached_key
from workers.common.jose import JWSRefused, parse_jws, verify_signature
from workers.common.keyperiods import verifying
from workers.common.verification import RevocationsKnown


class AccessTokenRefused(Exception):
    """`error` is RFC 6750 section 3.1's: 401 for invalid_token, 403 for insufficient_scope."""

    def __init__(self, detail: str, error: Literal["invalid_token", "insufficient_scope"] = "invalid_token") -> None:
        super().__init__(detail)
        self.detail = detail
        self.error = error


class Facts(Protocol):
    """What of the facts is read; `streams.facts_table.FactsTable` is one."""

    def keys(self, purpose: KeyPurpose) -> Iterable[Key]:
        """The key facts of one purpose."""

    def client(self, client_id: str) -> Client | None:
        """An OAuth client, whatever its state."""

    def agent(self, spiffe_id: str) -> Agent | None:
        """An agent, whatever its state."""


@dataclass(frozen=True, eq=False)
class VerifiedAccessToken:
    """Its claims, now that everything about it was verified but its scope, which is asked for with `require`."""

    claims: AccessTokenClaims
    kid: str
    digest: str
    raw: str = field(repr=False)

    @property
    def rev(self) -> int:
        """See weft.revocation.Revocable."""
        return self.claims.rev

    @property
    def audiences(self) -> frozenset[str]:
        """Whom it is for."""
        return frozenset((self.claims.aud,) if isinstance(self.claims.aud, str) else self.claims.aud)

    @property
    def scope(self) -> tuple[str, ...]:
        """The scope, one by one."""
        return tuple(self.claims.scope.split())

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Digests of what ends it when revoked: itself, its transaction, the key, whom it names, who acts and acted."""
        return tuple(dict.fromkeys(_targets(self.claims, self.kid)))

    def client_active(self, facts: Facts) -> bool:
        """See `client_active`."""
        return client_active(self.claims.client_id, facts)

    def require(self, *scopes: str) -> None:
        """Each of these scopes is in it; raises AccessTokenRefused (insufficient_scope)."""
        missing = [scope for scope in scopes if scope not in self.scope]
        if missing:
            raise AccessTokenRefused(f"the scope {' '.join(missing)} is needed", "insufficient_scope")


def client_active(client_id: str, facts: Facts) -> bool:
    """The client is registered and active; or an agent is, for the tokens that the broker obtains in its name."""
    holder = facts.client(client_id) or facts.agent(client_id)
    return holder is not None and holder.state == "active"


def verify_access_token(
    unverified_token: str,
    facts: Facts,
    revocations: RevocationsKnown,
    *,
    issuer: str,
    audience: str,
    now: float,
    jkt: str | None = None,
    x5t: str | None = None,
    shown_elsewhere: bool = False,
) -> VerifiedAccessToken:
    """A live access token of ours for this audience.  Raises AccessTokenRefused.

    1. Compact JWS of at most 4 KiB, `alg` ES256.  2. `typ` is at+jwt.  3. A token key of ours signed it, whose signatures count now.
    4. The claims that we issue, from this issuer.  5. Time: `exp` without any skew, `iat`, and no longer life than any token may have.
    6. The audience.  7. Its client is one, and active.  8. Not revoked, by a view that knows all that the issuer knew.
    9. Sender-constrained tokens: the request proved that very key (`jkt` by DPoP, `x5t` by its client certificate);
    `shown_elsewhere` is for who asks as the resource server that it was shown to, and checked that itself.
    NOT checked: the scope (`require`), and whether the views are fresh, which the caller must ask before it believes a yes.
    """
    token = read_access_token(unverified_token, facts, issuer=issuer, now=now)  # 1 to 5
    claims = token.claims
    if audience not in token.audiences:  # 6
        raise AccessTokenRefused("for another audience")
    if not token.client_active(facts):  # 7
        raise AccessTokenRefused("its client is no active client")
    if revocations.behind(token):  # 8
        raise AccessTokenRefused("minted beyond this revocation view: try again")
    if revocations.revoked(token) is not None:
        raise AccessTokenRefused("revoked")
    if claims.cnf is not None and not (shown_elsewhere or claims.cnf.shown(jkt, x5t)):  # 9
        raise AccessTokenRefused("bound to a key that the request did not prove")
    return token


def read_access_token(unverified_token: str, facts: Facts, *, issuer: str, now: float) -> VerifiedAccessToken:
    """Steps 1 to 5: issued by us, and within its time.  Raises AccessTokenRefused.  NOT checked: all that follows."""
    claims, kid = _signed(unverified_token, facts, now)
    if claims.iss != issuer:
        raise AccessTokenRefused("another issuer")
    if now >= claims.exp or claims.iat > now + SKEW_S or claims.exp - claims.iat > MAX_TTL_S:
        raise AccessTokenRefused("expired, or not valid yet")
    return VerifiedAccessToken(claims, kid, sha256(unverified_token), unverified_token)


def _signed(unverified: str, facts: Facts, now: float) -> tuple[AccessTokenClaims, str]:
    try:
        jws = parse_jws(unverified, max_bytes=MAX_ACCESS_TOKEN_BYTES)
        if jws.alg != TOKEN_ALG:
            raise AccessTokenRefused("alg is not ES256")
        if jws.media_type != ACCESS_TYP:
            raise AccessTokenRefused("typ is not at+jwt")
        key = next((cached_key(one.jwk) for one in verifying(facts.keys("tokens"), now) if one.kid == jws.kid), None)
        if key is None:
            raise AccessTokenRefused("signed by no key of ours")
        verify_signature(jws, key)
        return AccessTokenClaims.model_validate_json(unb64u(unverified.split(".")[1])), jws.kid
    except JWSRefused as error:
        raise AccessTokenRefused(str(error)) from None
    except ValidationError:
        raise AccessTokenRefused("a claim is missing or not one that we issue") from None


def _targets(claims: AccessTokenClaims, kid: str) -> Iterator[str]:
    yield target_digest("token", claims.jti)
    yield target_digest("transaction", claims.txn)
    yield target_digest("key", kid)
    for name in (claims.sub, claims.client_id, claims.workload or ""):
        yield from named_targets(name)
    if claims.sub != claims.client_id and not claims.sub.startswith("spiffe://"):
        yield target_digest("user", claims.sub)
    for link in claims.req_chain:
        yield target_digest("token", link.jti)
    yield from acting_targets(claims.act)


def acting_targets(act: ActorClaim | None) -> Iterator[str]:
    """Whoever acts or acted: the workload and what lies above it, its instance, the token it acted under."""
    for actor in act.line() if act is not None else ():
        yield from named_targets(actor.sub)
        if actor.instance is not None:
            yield target_digest("instance", actor.instance)
        if actor.jti is not None:
            yield target_digest("token", actor.jti)


def named_targets(name: str) -> Iterator[str]:
    """A workload and every namespace above it."""
    try:
        prefixes = SpiffeID.parse(name).prefixes()
    except (InvalidSpiffeID, UnicodeEncodeError):
        return
    yield target_digest("agent", name)
    yield from (target_digest("namespace", str(prefix)) for prefix in prefixes)
