"""A token request that names no tool: what is decided, and the Transaction Token it gives.

draft-ietf-oauth-transaction-tokens-10, RFC 8693, RFC 6749 section 4.4.  One that names a tool is decided as an agent's invocation is
(`schemas.decision`) besides, and gives the token of `schemas.token`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.accesstoken import Bound
from schemas.actors import ActorClaim, Named
from schemas.base import Code, Digest, InstanceID, Opaque, Seconds, Sequence, SpiffeIDText, Wire
from schemas.clients import ActorType, AuthMethod, ClientID, GrantType, IssuedType, SubjectType
from schemas.decision import ENGINE, GateLine
from schemas.reasons import DenyReason
from schemas.token import RequestChain

MAX_SCOPES = 16


class TransactionClaims(Wire):
    """The payload of a Transaction Token that opens no tool: no guard takes it, since it holds no `call`."""

    iss: str
    aud: str  # the trust domain
    iat: Seconds
    exp: Seconds
    jti: str
    txn: str
    sub: str
    scope: str  # separated by spaces
    req_wl: str  # the workload that requested it, else the client
    client_id: ClientID | None = None  # that requested it: RFC 8693 section 4.3
    tctx: dict[str, Any] = {}  # of `request_details`, fixed at the root
    rctx: dict[str, Any] = {}  # of `request_context`, and what the service saw itself
    req_chain: RequestChain = ()  # ours: the draft leaves the mechanism of the call chain open
    cnf: Bound | None = None
    rev: Sequence
    facts: Sequence
    workload: SpiffeIDText | None = None
    act: ActorClaim | None = None  # absent where nobody acts for another
    asserted: Literal[True] | None = None  # the transaction began with the client's own word about its subject


class Subject(Wire):
    """The verified subject token, without the token."""

    type: SubjectType
    sub: str
    iss: str | None = None  # who signed it; of unsigned JSON nobody
    scope: tuple[str, ...] | None = None  # none: the token says nothing of scope, and the client's ceiling is its scope
    exp: Seconds | None = None
    txn: str | None = None  # of the transaction that a replacement continues
    chain: RequestChain = ()  # of the new token
    act: ActorClaim | None = None  # who acts in it, and acted before
    may_act: Named | None = None  # who may act, where it says so
    asserted: Literal[True] | None = None  # nobody but a client vouches for it, or for what it descends from
    digest: Digest


class Acting(Wire):
    """The verified actor token, without the token.  RFC 8693 section 2.1: the acting party itself, not somebody's delegate."""

    type: ActorType
    client_id: ClientID | None = None  # that the token was issued to, or that signed it
    workload: SpiffeIDText | None = None
    instance: InstanceID | None = None  # where an SVID names it
    assurance: Literal["development", "production"] = "production"
    exp: Seconds
    jti: str | None = None  # of an access token: revoking it ends what was issued for it
    digest: Digest


class ExchangeInput(Wire):
    """What `decide_exchange` reads besides the facts."""

    request_id: Opaque
    request_digest: Digest  # of the form, RFC 8785 of its parameters
    grant: GrantType
    client_id: ClientID
    auth_method: AuthMethod
    workload: SpiffeIDText | None = None  # that the client proved to be, or is registered as
    instance: InstanceID | None = None  # where an SVID names it
    assurance: Literal["development", "production"] = "production"
    subject: Subject | None = None  # of an exchange
    actor: Acting | None = None  # absent: the client acts
    requested: IssuedType = "txn_token"  # of an exchange
    issuer: str | None = None  # the fabric that decides; absent in records older than `act`
    scope: Annotated[tuple[Code, ...], Field(max_length=MAX_SCOPES)]
    resources: tuple[str, ...] = ()  # RFC 8707
    now: Seconds
    views_fresh: bool
    revocations: Sequence


class ExchangeDecision(Wire):
    """The outcome.  Falsy unless it allows."""

    outcome: Literal["allow", "deny"]
    reason: DenyReason | None = None
    lines: tuple[GateLine, ...]
    ttl_s: int = 0
    act: ActorClaim | None = None  # of the token
    facts_revision: Sequence
    engine: str = ENGINE

    def __bool__(self) -> bool:
        return self.outcome == "allow" and self.ttl_s > 0


class Exchange(Wire):
    """Both: what stands on record of a token request."""

    input: ExchangeInput
    decision: ExchangeDecision
