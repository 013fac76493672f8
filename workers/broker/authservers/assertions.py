"""What the broker says of itself, and of those it asks for, in a JWT.  Pure; the claims, unsigned.

RFC 7523 and draft-ietf-oauth-rfc7523bis-10 (client authentication: the issuer identifier is the sole audience), RFC 8693 sections 4.1 and
4.4, draft-ietf-oauth-identity-chaining-17 in the form of draft-fletcher-oauth-txn-token-chaining-profile (the grant).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any, Literal

from weft.digest import b64u

from schemas.facts import AuthorizationServer

CLIENT_TYP = "client-authentication+jwt"
GRANT_TYP = "txn-chain+jwt"
ACTOR_TYP = "JWT"
LIFE_S = 60
JWT_BEARER_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_SPIFFE_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"


@dataclass(frozen=True, slots=True)
class Parties:
    """For whom, and by whom.  `sub` is the agent's own name where it acts for nobody."""

    sub: str
    agent: str
    txn: str


@dataclass(frozen=True, slots=True)
class Names:
    """What a server is told of names: pairwise ones (OpenID Connect Core section 8.1), or ours."""

    secret: bytes = field(repr=False)

    def told(self, server: AuthorizationServer, name: str) -> str:
        """The name that this server knows them by; the same at every time, another at every server."""
        if server.subject == "same":
            return name
        return b64u(hmac.digest(self.secret, f"{server.issuer}\0{name}".encode(), hashlib.sha256))


def client_assertion(server: AuthorizationServer, now: int, jti: str) -> dict[str, Any]:
    """RFC 7523 section 3 as its bis has it: `iss` and `sub` are the client, `aud` the issuer alone."""
    return {"iss": server.client_id, "sub": server.client_id, "aud": server.issuer, "iat": now, "exp": now + LIFE_S, "jti": jti}


def subject_grant(
    server: AuthorizationServer, names: Names, parties: Parties, *, issuer: str, resource: str, scope: str, now: int, exp: int, jti: str,
    actor: Literal["may_act", "act"],
) -> dict[str, Any]:  # fmt: skip
    """The subject token of an exchange, which the agent may act in; or the JWT that is the grant, in which it acts.

    Toward another domain: no internal names, no chain, no intent.
    """
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": names.told(server, parties.sub),
        "aud": server.issuer,
        "iat": now,
        "exp": min(exp, now + LIFE_S),
        "jti": jti,
        "txn": names.told(server, parties.txn),
        "resource": resource,
    }
    if scope:
        claims["scope"] = scope
    if parties.sub != parties.agent:
        claims[actor] = {"iss": issuer, "sub": names.told(server, parties.agent)}
    return claims


def actor_token(
    server: AuthorizationServer, names: Names, parties: Parties, *, issuer: str, now: int, exp: int, jti: str
) -> dict[str, Any] | None:
    """The agent, as the actor of an exchange; none where it acts for nobody."""
    if parties.sub == parties.agent:
        return None
    sub = names.told(server, parties.agent)
    return {"iss": issuer, "sub": sub, "aud": server.issuer, "iat": now, "exp": min(exp, now + LIFE_S), "jti": jti}
