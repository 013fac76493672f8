"""The decision: all that it reads, and what it says.  Recorded whole, so that anyone can compute it again.

`DecisionInput` holds verified claims only, never a token.  `decide(input, facts) -> Decision` is in workers.common.decision.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.actors import ActorClaim
from schemas.base import Code, Digest, InstanceID, Name, Opaque, Seconds, Sequence, SpiffeIDText, Wire
from schemas.invocation import CallParts
from schemas.reasons import DenyReason
from schemas.responses import Need
from schemas.token import AuthorizationDetail, Ceiling, Evidence, PastActor, RequestChain, TokenForm

ENGINE = "2"  # counts up whenever the same input and facts may decide differently


class Gate(StrEnum):
    """The gates, in order."""

    LIMITS = "limits"
    IDENTITY = "identity"
    REGISTERED = "registered"
    VIEWS = "views"
    POSTURE = "posture"
    NAMESPACE = "namespace"
    CHARTER = "charter"
    GRAPH = "graph"
    CEILING = "ceiling"
    RIGHTS = "rights"
    CONSTRAINTS = "constraints"


class Caller(Wire):
    """The verified SVID and the key it is bound to."""

    id: SpiffeIDText
    instance: InstanceID
    attested: bool  # the issuer told instances apart; else quarantine falls on the SPIFFE ID
    assurance: Literal["development", "production"]
    jkt: Digest
    svid_exp: Seconds
    svid_iat: Seconds | None = None  # absent: the SVID does not say, and is fresh for nothing


class UserRights(Wire):
    """The verified user token, RFC 9068."""

    sub: str
    iss: str
    scope: tuple[str, ...]  # action codes, or purpose codes
    client_id: str
    may_act: str | None = None
    exp: Seconds
    acted: ActorClaim | None = None  # before this agent, as its `act` says
    digest: Digest


class Parent(Wire):
    """The verified token that this request continues."""

    how: Literal["child", "sibling"]  # addressed to the caller, or issued to this very instance
    jti: str
    txn: str
    sub: str
    iat: Seconds
    exp: Seconds
    ceiling: Ceiling
    act_chain: tuple[PastActor, ...]  # of the new token
    evidence: tuple[Evidence, ...] = ()
    req_chain: RequestChain = ()
    acted: ActorClaim | None = None  # before the first call of the transaction
    digest: Digest


class DecisionInput(Wire):
    """What `decide` reads besides the facts."""

    request_id: Opaque
    request_digest: Digest
    tool: Name
    actions: tuple[Code, ...]
    purpose: Code
    call: CallParts | None = None
    intent: Digest | None = None
    ttl_s: int | None = None
    authorization_details: tuple[AuthorizationDetail, ...] | None = None
    caller: Caller
    user: UserRights | None = None
    parent: Parent | None = None
    evidence: tuple[Evidence, ...] = ()  # verified from RECORD by the broker
    evidence_wanted: tuple[Sequence, ...] = ()  # as the agent named it
    evidence_read: bool = True  # false at the gateway: what the agent named is the broker's to read, and to judge
    challenged_at: Seconds | None = None  # when the challenge that the request answers was made; absent: it answers none of ours
    environment: dict[str, str] = {}  # of the fabric that decides
    now: Seconds
    views_fresh: bool
    revocations: Sequence  # the revocation counter

    @property
    def acted(self) -> ActorClaim | None:
        """Who acted before the first call of the transaction."""
        return self.parent.acted if self.parent is not None else self.user.acted if self.user is not None else None


class GateLine(Wire):
    """One line of the explanation."""

    gate: Gate
    passed: bool
    note: Annotated[str, Field(max_length=400)] = ""


class Grant(Wire):
    """What an Allow grants: perhaps less than was asked."""

    actions: tuple[Code, ...]
    purpose: Code
    ttl_s: int
    ceiling: Ceiling
    workload: SpiffeIDText
    endpoint: str
    resource: str
    audience: TokenForm
    bound: tuple[Literal["method", "path", "body"], ...]
    single_use: bool
    proof: Literal["dpop"] | None = None
    revocation: Literal["introspection", "status_list"] | None = None  # none: a guard's view
    authorization_details: tuple[AuthorizationDetail, ...] | None = None
    status_list: bool = False  # the token gets an entry in a status list
    approval: Opaque | None = None  # that let it pass: spent before anything is minted
    evidence: tuple[Evidence, ...] = ()
    sub: str
    agentic_ctx: dict[str, Any]
    version: str
    deployment: str


class Decision(Wire):
    """The outcome.  Falsy unless it allows, so that a careless `if` still refuses."""

    outcome: Literal["allow", "step_up", "deny"]
    reason: DenyReason | None = None  # of a deny or a step-up
    needs: Need | None = None
    lines: tuple[GateLine, ...]
    grant: Grant | None = None
    facts_revision: Sequence
    policy_digest: Digest | None = None
    engine: str = ENGINE

    def __bool__(self) -> bool:
        return self.outcome == "allow" and self.grant is not None
