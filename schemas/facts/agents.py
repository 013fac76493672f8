"""Agents, and the namespaces that bound them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import SpiffeIDText, Ttl, Wire
from schemas.facts.kinds import Environment, Kind, Patterns, State
from schemas.token import DEFAULT_TTL_S, MAX_HOPS


class Selectors(Wire):
    """What the kernel must say of a process before it is this agent (SPIRE's unix attestor names)."""

    uid: int | None = None
    gid: int | None = None
    path: str | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    command: tuple[str, ...] | None = None  # the argument vector `weft agent run` may start as this agent; `{python}` is its interpreter


class Provenance(Wire):
    """Where it came from."""

    image: str | None = None
    source: str | None = None
    model_digest: str | None = None
    prompt_digest: str | None = None


class Charter(Wire):
    """What an agent is for."""

    purposes: Patterns
    tools: Patterns
    actions: Patterns
    authorization_details: Patterns = ()  # RFC 9396 types
    delegates: tuple[SpiffeIDText, ...] = ()  # agents it may hand a step to
    environment: Environment = {}
    max_ttl_s: Ttl = DEFAULT_TTL_S
    depth: Annotated[int, Field(ge=0, le=MAX_HOPS)] = 2


class Agent(Wire):
    """Key: the SPIFFE ID's subject."""

    kind: Literal[Kind.AGENT] = Kind.AGENT
    id: SpiffeIDText
    owner: str
    realm: Literal["first_party", "third_party"]
    version: str
    deployment: str
    agent_type: str
    charter: Charter
    business: dict[str, str] = {}
    financial: dict[str, str] = {}
    security: dict[str, str] = {}
    selectors: Selectors
    provenance: Provenance = Provenance()
    state: State = "active"


class Bounds(Wire):
    """What nobody below a namespace may exceed."""

    purposes: Patterns = ("*",)
    tools: Patterns = ("*",)
    actions: Patterns = ("*",)
    max_ttl_s: Ttl = 300
    depth: Annotated[int, Field(ge=0, le=MAX_HOPS)] = MAX_HOPS


class Namespace(Wire):
    """Key: the prefix's subject.  An agent under no namespace is refused."""

    kind: Literal[Kind.NAMESPACE] = Kind.NAMESPACE
    prefix: SpiffeIDText
    owner: str
    realm: Literal["first_party", "third_party"] = "first_party"
    bounds: Bounds = Bounds()
    review: str | None = None  # date of the next review
