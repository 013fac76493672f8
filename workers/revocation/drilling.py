"""What a drill makes of the verdicts it hears.  Pure: time comes in.

A point counts for each of its tools.  It is *armed* by accepting the canary; the verdict that matters is its last: a guard that refused
for the revocation and accepts when it is asked again has failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schemas.drills import DrillPoint, DrillReport, DrillState, Verdict
from schemas.reasons import GuardReason
from workers.revocation.completion import LISTED, percentile

Place = tuple[str, str]  # point and tool


@dataclass(slots=True)
class Heard:
    """What one guard said of one canary."""

    armed: bool = False
    last: Verdict | None = None
    refused_at: float | None = None  # for the revocation, first


@dataclass(slots=True)
class Drill:
    """One drill; `expected` are the places that were live and shown a canary."""

    id: str
    by: str
    at: int
    expected: frozenset[Place]
    skipped: tuple[str, ...] = ()
    n: int | None = None
    committed_at: float | None = None
    heard: dict[Place, Heard] = field(default_factory=dict)

    def say(self, point: str, verdict: Verdict, now: float) -> bool:
        """A verdict under an attested name.  False: not of this drill, or of nobody it asked."""
        place = (point, verdict.tool)
        if verdict.drill != self.id or place not in self.expected:
            return False
        heard = self.heard.setdefault(place, Heard())
        heard.last = verdict
        if verdict.accepted and self.n is None:
            heard.armed = True
        if self.n is not None and not verdict.accepted and verdict.reason is GuardReason.REVOKED and heard.refused_at is None:
            heard.refused_at = now
        return True

    def revoked(self, n: int, at: float) -> None:
        """The canaries are revoked: entry `n`, committed then."""
        self.n, self.committed_at = n, at
        for heard in self.heard.values():
            heard.last = None if heard.armed else heard.last  # what it said before is no answer any more

    @property
    def all_answered(self) -> bool:
        """Everybody that was shown a canary has said something."""
        return all(place in self.heard for place in self.expected)

    @property
    def all_refused(self) -> bool:
        """Every armed guard has refused, for whatever reason."""
        return all(heard.last is not None and not heard.last.accepted for heard in self.heard.values() if heard.armed)

    def unrefused(self) -> frozenset[str]:
        """Tools whose points have to be asked again: an armed guard has not refused."""
        return frozenset(tool for (_, tool), h in self.heard.items() if h.armed and (h.last is None or h.last.accepted))

    def outcome(self, place: Place) -> DrillPoint:
        """How it ended there."""
        heard = self.heard.get(place, Heard())
        reason = heard.last.reason if heard.last is not None else None
        took = None
        if heard.refused_at is not None and self.committed_at is not None:
            took = round(max(0.0, (heard.refused_at - self.committed_at) * 1e3), 3)
        return DrillPoint(point=place[0], tool=place[1], state=_state(heard), reason=reason, ms=took)

    def report(self) -> DrillReport:
        """For RECORD; those that did not refuse come first."""
        outcomes = [self.outcome(place) for place in sorted(self.expected)]
        took = sorted(outcome.ms for outcome in outcomes if outcome.state == "refused" and outcome.ms is not None)
        listed = sorted(outcomes, key=lambda outcome: outcome.state == "refused")[:LISTED]
        return DrillReport(
            drill=self.id,
            by=self.by,
            n=self.n,
            at=self.at,
            points=tuple(listed),
            omitted=len(outcomes) - len(listed),
            skipped=self.skipped,
            passed=bool(outcomes) and all(outcome.state == "refused" for outcome in outcomes),
            p50_ms=percentile(took, 0.50),
            p99_ms=percentile(took, 0.99),
            last_ms=took[-1] if took else None,
        )

    def verdicts(self) -> Mapping[str, bool]:
        """Points that this drill says something of: whether they are proven.  Accepting for one tool is enough to fail."""
        states: dict[str, list[DrillState]] = {}
        for place in self.expected:
            states.setdefault(place[0], []).append(self.outcome(place).state)
        return {point: False for point, found in states.items() if "accepted" in found} | {
            point: True for point, found in states.items() if _proven(found)
        }


def _proven(states: Iterable[DrillState]) -> bool:
    found = set(states)
    return found == {"refused"}


def _state(heard: Heard) -> DrillState:
    if not heard.armed:
        return "silent" if heard.last is None else "not_armed"
    if heard.last is None:
        return "silent"
    return "accepted" if heard.last.accepted else "refused"
