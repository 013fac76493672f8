"""An authorization server that is not ours: how the broker asks it for tokens, and what a tool says of the token it takes.

OAuth 2.1, RFC 8693, RFC 7523, draft-ietf-oauth-identity-chaining-17.  The fact itself is `schemas.facts.AuthorizationServer`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from schemas.base import Name, Wire

ServerURL = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]{1,500}$")]  # http for loopback alone: the outbound rules say so
ServerAuth = Literal[
    "private_key_jwt",  # RFC 7523 and its bis: by the token key, which the server reads from our JWKS
    "tls_client_auth",  # RFC 8705: by the client certificate of that name in the broker's folder `clients`
    "spiffe_jwt",  # draft-ietf-oauth-spiffe-client-auth-02: by the broker's own JWT-SVID
]
ObtainBy = Literal[
    "client_credentials",  # in the broker's own name
    "token_exchange",  # RFC 8693: subject and actor are what we say in a JWT of ours
    "jwt_bearer",  # RFC 7523 section 2.1: that JWT is the grant (identity chaining)
]
Exchanges = Literal[
    "jwt",  # as subject token of an exchange it takes a JWT of ours
    "access_token",  # it takes its own access tokens alone: one is obtained by jwt_bearer first, exchanged, and taken back
]
ScopeToken = Annotated[str, StringConstraints(pattern=r"^[!#-\[\]-~]{1,128}$")]  # RFC 6749 section 3.3


class Obtain(Wire):
    """What a tool's tokens are obtained with.  Its `resource` is asked for (RFC 8707)."""

    server: Name
    by: ObtainBy
    scopes: tuple[ScopeToken, ...] = ()
