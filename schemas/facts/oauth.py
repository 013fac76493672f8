"""OAuth: the clients that may ask us, and the authorization servers that we may ask."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from schemas.authservers import Exchanges, ObtainBy, ServerAuth, ServerURL
from schemas.base import Digest, Name, SpiffeIDText, Wire
from schemas.clients import AuthMethod, Certificate, ClientID, GrantType, Resource, SpiffePattern, SubjectType
from schemas.facts.kinds import Kind, Patterns, State
from schemas.token import DEFAULT_TTL_S, MAX_HOPS, MAX_TTL_S


class Client(Wire):
    """An OAuth client, RFC 6749 section 2.  Key: SHA-256 of `client_id`.  It may what is listed, and begins with nothing.

    Scopes are exact codes, or prefixes ending in `*`.  A subject token type that `ceilings` does not name is refused: where the type
    says nothing of scope, its ceiling is the scope (draft-ietf-oauth-transaction-tokens-10: unknown is never unconstrained).
    """

    kind: Literal[Kind.CLIENT] = Kind.CLIENT
    client_id: ClientID
    name: Annotated[str, StringConstraints(max_length=128)] = ""
    owner: str
    auth_method: AuthMethod
    jwks: dict[str, Any] | None = None  # RFC 7517; of private_key_jwt and self_signed_tls_client_auth
    certificate: Certificate | None = None  # of tls_client_auth, RFC 8705 section 2.1.2
    spiffe_id: SpiffePattern | None = None  # of spiffe_jwt and spiffe_x509; elsewhere the workload that the client is
    grant_types: tuple[GrantType, ...] = ()
    scopes: Patterns = ()  # the most that `client_credentials` gives
    ceilings: dict[SubjectType, Patterns] = {}  # the most that an exchange gives, by the type of its subject token
    people: str | None = None  # `iss` of the provider whose people its own word (self_signed, unsigned_json) names; none: without one
    resources: tuple[Resource, ...] = ()  # RFC 8707: what its access tokens may be for, besides the fabric itself
    protects: tuple[Resource, ...] = ()  # resources that it serves: tokens for these it may introspect
    actors: tuple[SpiffePattern, ...] = ()  # workloads besides its own whose actor tokens it may bring (RFC 8693 section 2.1)
    access_ttl_s: Annotated[int, Field(gt=0, le=MAX_TTL_S)] = MAX_TTL_S
    txn_ttl_s: Annotated[int, Field(gt=0, le=MAX_TTL_S)] = DEFAULT_TTL_S
    replacements: Annotated[int, Field(ge=0, le=MAX_HOPS)] = 2  # how often its transaction tokens may be replaced
    certificate_bound: bool = False  # `tls_client_certificate_bound_access_tokens`, RFC 8705 section 3.4
    dpop_required: bool = False  # `dpop_bound_access_tokens`, RFC 9449 section 5.2
    hears: tuple[SpiffeIDText, ...] = ()  # namespaces of whose agents (and, with the trust domain itself, people) its streams may tell
    document: Digest | None = None  # SHA-256 of the metadata document that was accepted, of a client_id that is a URL
    state: State = "active"


class AuthorizationServer(Wire):
    """An authorization server that is not ours, which the broker may ask for tokens.  Key: the name.

    Without a token endpoint both endpoints are read from its metadata (RFC 8414), which must name this very issuer.
    """

    kind: Literal[Kind.AUTHORIZATION_SERVER] = Kind.AUTHORIZATION_SERVER
    name: Name
    owner: str
    issuer: ServerURL
    token_endpoint: ServerURL | None = None
    revocation_endpoint: ServerURL | None = None  # RFC 7009
    client_id: ClientID
    auth: ServerAuth = "private_key_jwt"
    certificate: Name | None = None  # of tls_client_auth
    grants: tuple[ObtainBy, ...]
    exchanges: Exchanges = "jwt"
    resources: tuple[Resource, ...]  # RFC 8707: what may be asked for
    also_at: dict[Resource, tuple[ServerURL, ...]] = {}  # origins besides the resource's own where its tokens may be shown
    scopes: Patterns = ()  # the most that may be asked for
    subject: Literal["pairwise", "same"] = "pairwise"  # what it is told of persons and agents: names of its own, or ours
    revocable: bool = False  # its resource servers heed a revocation: otherwise none of its tokens reaches an agent
    state: State = "active"
