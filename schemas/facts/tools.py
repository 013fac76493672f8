"""Tools, and their enforcement points that are not contained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from schemas.authservers import Obtain
from schemas.base import Code, Digest, Name, Seconds, SpiffeIDText, Ttl, Wire
from schemas.egress import Egress
from schemas.facts.agents import Selectors
from schemas.facts.kinds import Environment, Kind, State
from schemas.token import DEFAULT_TTL_S, TokenForm


class EvidenceRule(Wire):
    """`tool` must have handled the same object before, in this transaction, with a positive outcome."""

    tool: Name
    fields: tuple[Name, ...]
    max_age_s: Ttl = 300


class Tool(Wire):
    """Key: the name."""

    kind: Literal[Kind.TOOL] = Kind.TOOL
    name: Name
    owner: str
    workload: SpiffeIDText  # the identity of its guard; also an agent's, where an agent can be called
    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=512)]
    resource: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=512)]  # RFC 8707
    capabilities: tuple[str, ...] = ()
    actions: tuple[Code, ...]
    purposes: tuple[Code, ...]
    bind: tuple[Literal["method", "path", "body"], ...] = ("method", "path", "body")
    obtain: Obtain | None = None  # what it takes is issued by another authorization server, to the broker
    token_form: TokenForm = "txn"  # aud of the first: the trust domain; of all others: the tool's resource, and they are leaves
    revocation: Literal["guard", "introspection", "status_list"] = "guard"  # how the tool learns of one; the others without a guard
    authorization_details: tuple[Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")], ...] = ()  # RFC 9396 types it understands
    single_use: bool = False
    proof: Literal["dpop"] | None = None  # of possession, with every call: RFC 9449, by the instance's key
    evidence: tuple[EvidenceRule, ...] = ()
    object_fields: dict[Name, str] = {}  # field name to JSON pointer (RFC 6901) into the request's body
    chain: tuple[SpiffeIDText, ...] = ()  # agents or namespaces that must have acted before
    staleness_s: Literal[3, 30] = 3  # how old the guard's revocation view may be
    uncontained: Literal["refuse", "serve"] = "refuse"  # new calls, while a point of its workload has not applied a revocation in time
    status_list: bool = False  # its tokens get an entry in a status list, for verifiers that are not on the bus
    max_ttl_s: Ttl = DEFAULT_TTL_S
    environment: Environment = {}
    egress: Egress | None = None  # the egress stands before it: `workload` and `endpoint` are the egress's
    selectors: Selectors = Selectors()  # of its workload's process, where no agent has that SPIFFE ID; empty ones match nothing
    document: Digest | None = None  # SHA-256 of the protected resource metadata that was accepted, RFC 9728
    state: State = "active"


class Point(Wire):
    """An enforcement point that is not contained: past its budget it speaks, and has not applied entry `n`, or was seen to accept what
    that entry revoked.  Key: its name.  Deleted once it has answered, or fell silent past its budget and so refuses by itself.
    """

    kind: Literal[Kind.POINT] = Kind.POINT
    name: Annotated[str, StringConstraints(pattern=r"^[^\s]{1,600}$")]
    workload: SpiffeIDText
    n: int
    why: Literal["not_applied", "accepted"]
    since: Seconds
