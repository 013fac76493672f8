"""Drills: a real token that allows nothing, revoked, and the verdict of every guard on it.

`revocation` has the broker mint a canary token for each tool, shows it to that tool's points, revokes it, and hears from each guard what
its own check says, before and after.  A canary token names no action, so nobody can do anything with it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Compact, InstanceID, Name, Opaque, Seconds, Wire
from schemas.reasons import GuardReason

CANARY_WANTED = "org.weft.drill.canary.wanted.v1"
CANARY_MINTED = "org.weft.drill.canary.minted.v1"
SHOWN = "org.weft.drill.shown.v1"
VERDICT = "org.weft.drill.verdict.v1"
RUN = "org.weft.command.drill.v1"

CANARY_PATH = "weft/canary"  # below the trust domain: the agent that every canary token names


class CanaryWanted(Wire):
    """By `revocation`, of the broker."""

    drill: Opaque
    tool: Name
    instance: InstanceID


class CanaryMinted(Wire):
    """The answer; on RECORD before it leaves."""

    token: Compact = Field(repr=False)


class Shown(Wire):
    """To the points of a tool: judge this token now, and whenever an entry is applied, until it expires."""

    drill: Opaque
    tool: Name
    token: Compact = Field(repr=False)


class Verdict(Wire):
    """What a guard's own check says of it.  `n`: the last entry applied then."""

    drill: Opaque
    tool: Name
    accepted: bool
    reason: GuardReason | None = None
    n: Annotated[int, Field(ge=0)]
    at: float


class Run(Wire):
    """By a revoker of the trust domain: one drill, now."""

    id: Opaque


DrillState = Literal["refused", "accepted", "not_armed", "silent"]


class DrillPoint(Wire):
    """How one point did.

    `refused`: it accepted the token, and refuses it for the revocation.  `accepted`: it still accepts: an alarm.  `not_armed`: it did not
    accept the token in the first place (`reason`), so it proves nothing.  `silent`: it gave no verdict.
    """

    point: str
    tool: Name
    state: DrillState
    reason: GuardReason | None = None
    ms: float | None = None  # from the commit of the entry to the verdict


class DrillReport(Wire):
    """What RECORD holds of a drill."""

    drill: Opaque
    by: str
    n: int | None = None  # the entry; none where nothing could be shown to anyone
    at: Seconds
    points: tuple[DrillPoint, ...]
    omitted: int = 0
    skipped: tuple[Name, ...] = ()  # tools with live points whose form of token no drill has, or that no canary was minted for
    passed: bool  # at least one point, and every one of them refused
    p50_ms: float | None = None
    p99_ms: float | None = None
    last_ms: float | None = None
