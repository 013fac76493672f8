"""The Transaction Token.  draft-ietf-oauth-transaction-tokens-10 section 1; `act` in RFC 8693 section 4.1's sense; `cnf` RFC 7800.

`tctx` is the ceiling, fixed at the root of the transaction; `call` is what this one token may do.  Deviations from the agents draft
are listed in docs/contracts.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from schemas.actors import ActorClaim
from schemas.base import Code, Digest, InstanceID, Name, Seconds, Sequence, SpiffeIDText, Wire

TOKEN_TYP = "txntoken+jwt"
TOKEN_ALG = "ES256"
DEFAULT_TTL_S = 60
MAX_TTL_S = 300
SKEW_S = 5
MAX_TOKEN_BYTES = 4096
MAX_HOPS = 8
MAX_DETAILS = 4
TokenForm = Literal["txn", "resource", "access_token", "jwt_svid", "external"]  # what a tool takes; docs/tokens.md says which when
LEAVES: frozenset[TokenForm] = frozenset(("resource", "access_token", "external"))  # whose audience is the tool alone: no parents


class AuthorizationDetail(Wire):
    """RFC 9396 section 2: `type` and the common members of section 2.2.  What else a type may hold, we could not compare: refused.

    Within one detail the members multiply; several stand beside each other.
    """

    type: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")]
    locations: tuple[Annotated[str, StringConstraints(max_length=512)], ...] = ()
    actions: tuple[Code, ...] = ()
    datatypes: tuple[Annotated[str, StringConstraints(max_length=128)], ...] = ()
    identifier: Annotated[str, StringConstraints(max_length=512)] | None = None
    privileges: tuple[Annotated[str, StringConstraints(max_length=128)], ...] = ()


class Ceiling(Wire):
    """What may follow in this transaction.  `*` ends a pattern; a child lies within it."""

    purposes: tuple[Code, ...]
    tools: tuple[str, ...]  # names, or a prefix ending in `*`
    actions: tuple[Code, ...]
    authorization_details: tuple[dict[str, Any], ...] = ()  # RFC 9396 section 2
    depth: Annotated[int, Field(ge=0, le=MAX_HOPS)]  # hops that may still follow the root's


class Call(Wire):
    """What this token may do, once, here."""

    tool: Name
    workload: SpiffeIDText  # who may accept it, and who may present it as a parent
    resource: str
    actions: tuple[Code, ...]
    bound: tuple[Literal["method", "path", "body"], ...] = ()
    digest: Digest | None = None  # weft.digest.call_digest over `bound`
    single_use: bool = False
    authorization_details: tuple[AuthorizationDetail, ...] | None = None  # RFC 9396; absent where none were asked for


class Actor(Wire):
    """Who acts now."""

    sub: SpiffeIDText
    instance: InstanceID
    version: str | None = None
    deployment: str | None = None
    act: ActorClaim | None = None  # who acted before the first call of the transaction; since then, `act_chain`


class PastActor(Wire):
    """Who acted before, with the token it acted under, so that revoking that token reaches its descendants."""

    sub: SpiffeIDText
    instance: InstanceID
    jti: str
    tool: Name
    iat: Seconds


class Evidence(Wire):
    """A step that the guard of `tool` reported for this transaction with a positive outcome."""

    tool: Name
    seq: Sequence  # in RECORD
    object: Digest  # weft.digest.object_digest of what it handled
    at: Seconds


class Requested(Wire):
    """One link of the call chain at the token endpoint: who requested the token that this one replaces, or rests on."""

    wl: str  # its `req_wl`
    jti: str
    iat: Seconds


RequestChain = Annotated[tuple[Requested, ...], Field(max_length=MAX_HOPS)]


class Confirmation(Wire):
    """RFC 7800 section 3.1 and RFC 9449 section 6.1."""

    jkt: Digest  # RFC 7638 thumbprint of the OKP key the SVID is bound to


class StatusListEntry(Wire):
    """draft-ietf-oauth-status-list-20 section 6.2."""

    idx: Annotated[int, Field(ge=0)]
    uri: str


class Status(Wire):
    """Section 6.1."""

    status_list: StatusListEntry


class TokenClaims(Wire):
    """The payload."""

    iss: str
    aud: str  # the trust domain, or the tool's resource (then the token is a leaf)
    iat: Seconds
    exp: Seconds
    jti: str
    txn: str
    sub: str  # the person, or the agent itself
    scope: Code  # the purpose code
    purp: Code  # the same, as the essay and older drafts name it
    req_wl: str
    rctx: dict[str, Any]
    tctx: Ceiling
    call: Call
    act: Actor
    act_chain: Annotated[tuple[PastActor, ...], Field(max_length=MAX_HOPS)] = ()
    req_chain: RequestChain = ()  # ours: the draft leaves the mechanism of the call chain open
    agentic_ctx: dict[str, Any]
    evidence: tuple[Evidence, ...] = ()
    cnf: Confirmation
    rev: Sequence  # the revocation counter it was minted at
    facts: Sequence  # the facts revision it was minted at
    status: Status | None = None  # where the tool's record asks for it
