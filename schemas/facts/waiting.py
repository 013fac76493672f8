"""What waits for a person."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Code, Digest, FreeText, InstanceID, Name, Opaque, Seconds, SpiffeIDText, Wire
from schemas.facts.kinds import Kind
from schemas.facts.postures import Cause
from schemas.invocation import Arguments, CallParts
from schemas.responses import Answer, RuleScope
from schemas.token import AuthorizationDetail

MAX_APPROVALS = 8  # of one agent that are pending or given


class Approval(Wire):
    """One request that a person is asked to let pass once.  Key: the agent's SPIFFE ID and a slot.

    `digest` binds it to agent, instance, person, tool, actions, purpose and arguments (workers.common.approvals).  An agent has a fixed
    number of slots, which are used again.
    """

    kind: Literal[Kind.APPROVAL] = Kind.APPROVAL
    agent: SpiffeIDText
    slot: Annotated[int, Field(ge=0, lt=MAX_APPROVALS)]
    id: Opaque
    digest: Digest
    instance: InstanceID
    user: str | None = None  # on whose behalf: they may not approve it
    tool: Name
    actions: tuple[Code, ...]
    purpose: Code
    call: CallParts
    authorization_details: tuple[AuthorizationDetail, ...] | None = None  # RFC 9396
    arguments: Arguments | None = None  # where the agent showed them
    intent: FreeText | None = None  # the agent's own words; they prove nothing
    explanation: str  # of the refusal that asked for it
    asked_at: Seconds
    expires_at: Seconds  # of the question while it is pending, of the answer afterwards
    state: Literal["pending", "approved", "denied", "spent"] = "pending"
    by: str | None = None  # the person's nkey
    at: Seconds | None = None  # when they answered
    reason: FreeText | None = None
    spent_on: Digest | None = None  # the one signed request that used it


MAX_PENDING = 32  # responses of one transmitter that wait


class Pending(Wire):
    """A response beyond its transmitter's ceiling: it waits for an operator.  Key: SHA-256 of `iss`, and a slot.

    A transmitter has a fixed number of slots, which are used again: whoever floods the fabric fills no stream with what waits.
    """

    kind: Literal[Kind.PENDING] = Kind.PENDING
    iss: str
    slot: Annotated[int, Field(ge=0, lt=MAX_PENDING)]
    id: Opaque
    jti: str
    event: str
    confidence: Literal["low", "medium", "high"]
    rule: Name
    policy: Name
    response: Answer
    scope: RuleScope
    value: str  # in clear, a person's too: somebody has to judge whether it is right
    place: SpiffeIDText  # over which whoever confirms it must be revoker
    why: str  # it waits
    causes: tuple[Cause, ...] = ()  # what is added to the posture; none: of a response without one
    duration_s: Annotated[int, Field(gt=0)] | None = None
    receipt: bool = False
    asked_at: Seconds
    expires_at: Seconds
    state: Literal["pending", "confirmed", "dismissed"] = "pending"
    by: str | None = None  # who confirmed or dismissed it
    reason: FreeText | None = None
