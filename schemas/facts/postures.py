"""How far something is trusted now, and why."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Name, Opaque, Seconds, TargetDigest, Ttl, Wire
from schemas.facts.kinds import Kind, Patterns
from schemas.responses import Need
from schemas.token import MAX_HOPS

Scope = Literal["instance", "agent", "namespace", "user", "transaction"]
Level = Literal["normal", "narrowed", "step_up", "quarantined"]


class Cause(Wire):
    """One signal (or operator's order) that made a posture."""

    id: Opaque  # transmitter and jti, with the rule where one signal has several causes; or the command
    by: str  # transmitter or person
    level: Level
    event_time: Seconds
    event: str  # the event type URI, or `operator`
    rule: Name | None = None
    policy: Name | None = None
    actions: Patterns | None = None  # what a narrowing leaves
    purposes: Patterns | None = None
    max_ttl_s: Ttl | None = None
    depth: Annotated[int, Field(ge=0, le=MAX_HOPS)] | None = None
    needs: Need | None = None  # of a step-up; none: an approval
    at: Seconds | None = None  # when the fabric learned of it; none: at `event_time`
    confirmed_by: str | None = None  # the person who confirmed what was beyond the transmitter's ceiling
    until: Seconds | None = None


class StepUp(Wire):
    """Something that has to be shown, and must be newer than this."""

    needs: Need
    since: Seconds


class Trigger(Wire):
    """What made a posture this revision: a signal and the rule that answered it.  Neither an operator nor a response's end has one."""

    iss: str
    jti: str
    rule: Name
    policy: Name
    id: Opaque  # of the response: the same signal and rule do nothing twice
    receipt: bool = False  # the transmitter wants to hear how it ended
    confirmed_by: str | None = None


class Posture(Wire):
    """How far something is trusted now.  Key: scope and target digest.  A function of the set of its causes."""

    kind: Literal[Kind.POSTURE] = Kind.POSTURE
    scope: Scope
    target: TargetDigest
    value: str | None = None  # the SPIFFE ID, instance or transaction in clear; users stay digests
    level: Level
    actions: Patterns = ("*",)
    purposes: Patterns = ("*",)
    max_ttl_s: Ttl = 300
    depth: Annotated[int, Field(ge=0, le=MAX_HOPS)] = MAX_HOPS
    step_ups: tuple[StepUp, ...] = ()  # every one of them, while the level is `step_up`; none of them: an approval
    causes: tuple[Cause, ...]
    revoke: bool = False  # what was minted before this revision is revoked
    trigger: Trigger | None = None
