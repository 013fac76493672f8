"""What a rule is: it looks at one change over the prospect and yields what is wrong, in sentences a person can act on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from schemas.commands import Change
from schemas.reasons import DenyReason


class Problem(NamedTuple):
    """Why a set of changes is refused."""

    reason: DenyReason
    text: str


Problems = Iterator[Problem]


@dataclass(frozen=True, slots=True)
class Fabric:
    """What rules read of the fabric's settings."""

    trust_domain: str
    environment: frozenset[str]  # the names that constraints may speak of
    mode: Literal["development", "production"]
    issuer: str = ""  # under which the fabric itself vouches
    egress_id: str = ""
    egress_url: str = ""
    private_upstreams: tuple[str, ...] = ()  # networks


def invalid(change: Change, text: str, reason: DenyReason = DenyReason.INVALID_CHANGE) -> Problem:
    """A problem with this change."""
    return Problem(reason, f"{change.kind.value}/{change.key}: {text}")


def check_environment(change: Change, named: Mapping[str, str], fabric: Fabric) -> Problems:
    """A constraint on a name that the fabric does not have could never be met."""
    unknown = sorted(set(named) - fabric.environment)
    if unknown:
        known = ", ".join(sorted(fabric.environment)) or "none"
        yield invalid(change, f"environment names {', '.join(unknown)}, which this fabric does not have (it has {known})")


def check_patterns(change: Change, what: str, patterns: tuple[str, ...]) -> Problems:
    """A pattern that could match nothing is a mistake."""
    for pattern in patterns:
        if not pattern or "*" in pattern[:-1] or any(c.isspace() for c in pattern):
            yield invalid(change, f"{what}: a pattern is an exact name, or a prefix ending in '*'")
            return
