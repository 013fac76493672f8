"""Revocations, how far they have come, and the drills that test them."""

from __future__ import annotations

from typing import Literal

from schemas.base import Name, Opaque, Sequence, SpiffeIDText, Wire
from schemas.drills import DrillReport
from schemas.token import TokenClaims

REVOKED = "org.weft.record.revoked.v1"
COMPLETED = "org.weft.record.completed.v1"
UNCONTAINED = "org.weft.record.uncontained.v1"
CANARY_ISSUED = "org.weft.record.canaryissued.v1"
DRILLED = "org.weft.record.drilled.v1"


class Revoked(Wire):
    """An entry was committed; names and reasons stand here, digests in REVOCATIONS."""

    n: int
    targets: tuple[str, ...]  # `<kind>:<value>`
    cause: str
    posture_revision: Sequence | None = None
    by: str


class PointOutcome(Wire):
    """How one point ended."""

    point: str
    state: Literal["confirmed", "expired", "uncontained"]
    ms: float | None = None


class Completed(Wire):
    """The completion record of an entry."""

    n: int
    contained: bool
    posture_revision: Sequence | None = None  # of the facts: the posture that the entry was written for
    points: tuple[PointOutcome, ...]
    omitted: int = 0  # confirmed points left out of `points`, so that the event fits a message
    committed_at: float
    last_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


class Uncontained(Wire):
    """The alarm: an enforcement point is not contained, or (`ended`) it is again."""

    point: str
    agent: SpiffeIDText  # its workload: whose auditors may see it
    n: int  # the entry it has not applied, or whose target it was seen to accept
    why: Literal["not_applied", "accepted"]
    tools: tuple[Name, ...]  # new calls are refused, unless their record says `serve`
    ended: Literal["answered", "silent"] | None = None  # silent: past its budget, so it refuses by itself


class CanaryIssued(Wire):
    """A canary token of a drill: it allows nothing, and rests on no decision."""

    drill: Opaque
    claims: TokenClaims
    kid: str


class Drilled(DrillReport):
    """How a drill ended."""
