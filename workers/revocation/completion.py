"""Who has applied an entry, who never will, and when an entry is closed.  Pure: time comes in.

Every copy of `revocation` hears every acknowledgement and follows every entry, so that the one that takes over knows what is open;
the writer alone records the outcomes.  How a point ends:

* *confirmed*: it said, under its attested name, that it applied the entry;
* *expired*: it said nothing any more, so that past its budget it refuses by itself;
* *uncontained*: past its budget it still spoke, and had not applied the entry.

Whoever ends as uncontained stays so in `late` until it has applied what it was late for, or is silent for so long that it refuses by
itself.  A point that a drill saw accept what was revoked is late too, and only a later drill clears it, for its acknowledgements are
worth nothing.

A point that acknowledges what was never published is not believed at all (`Tracker.heard` returns False).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from schemas.record import Completed, PointOutcome

LIVE_S = 15.0  # a point that has not spoken for so long, and for longer than its budget, is no longer asked
GRACE_S = 3.5  # past its budget; longer than the three beacons between two acknowledgements of a healthy point
KEPT_S = 5.0  # how long closed outcomes are remembered: a takeover, and what its predecessor had not recorded
LISTED = 500  # outcomes named in one record, so that it fits a message; those not confirmed come first


@dataclass(slots=True)
class Point:
    """The last that was heard of one guard process."""

    n: int
    epoch: int
    at: float


@dataclass(frozen=True, slots=True)
class Late:
    """A point that is not contained."""

    n: int  # what it has not applied
    epoch: int
    since: float
    why: Literal["not_applied", "accepted"] = "not_applied"


@dataclass(slots=True)
class Open:
    """An entry that not every live point has answered for."""

    n: int
    committed_at: float | None  # none while the stream has not acknowledged it
    epoch: int
    waiting: dict[str, float]  # point to its budget
    outcomes: list[PointOutcome] = field(default_factory=list)
    early: dict[str, float] = field(default_factory=dict)  # answered before we knew that it was committed
    posture: int | None = None  # the facts revision that it was written for


_NONE = Late(0, 0, 0.0)


class Tracker:
    """The points, the open entries, and the outcomes that are ready."""

    def __init__(self, budget_of: Callable[[str], float]) -> None:
        self._budget_of = budget_of  # by a point's name
        self.points: dict[str, Point] = {}
        self.late: dict[str, Late] = {}
        self.proven: set[str] = set()  # points that a drill saw refuse, and none since saw accept
        self._open: OrderedDict[int, Open] = OrderedDict()
        self._closed: OrderedDict[int, tuple[float, Completed]] = OrderedDict()
        self._highest = 0
        self._begun = 0

    def known(self, n: int) -> None:
        """Entries up to `n` exist; no acknowledgement beyond is believed."""
        self._highest = max(self._highest, n)

    def begin(self, n: int, epoch: int, now: float, posture: int | None = None) -> None:
        """An entry is about to be published, or was seen on the stream: from here on it may be acknowledged.

        `posture`: the facts revision that it was written for.
        """
        self.known(n)
        if n <= self._begun:
            return
        self._begun = n
        self.forget(now)
        waiting = {name: self._budget_of(name) for name, point in self.points.items() if point.n < n}
        self._open[n] = Open(n, None, epoch, waiting, posture=posture)

    def abandon(self, n: int) -> None:
        """The entry was not committed after all, as far as we know."""
        if self._open.pop(n, None) is not None:
            self._begun = n - 1

    def committed(self, n: int, at: float) -> None:
        """The stream holds it since `at`."""
        entry = self._open.get(n)
        if entry is None or entry.committed_at is not None:
            return
        entry.committed_at = at
        for name, heard_at in entry.early.items():
            self._confirm(entry, name, heard_at)
        self._close_if_done(entry, at)

    def heard(self, name: str, n: int, epoch: int, now: float) -> bool:
        """A point acknowledged everything up to `n`.  False: it cannot have, and is not believed."""
        if n > self._highest:
            return False
        point = self.points.setdefault(name, Point(0, 0, now))
        point.n, point.epoch, point.at = max(point.n, n), max(point.epoch, epoch), now
        self._answered(name, n, epoch)
        for entry in [e for e in self._open.values() if e.n <= n and e.epoch <= epoch and name in e.waiting]:
            if entry.committed_at is None:
                entry.early.setdefault(name, now)
            else:
                self._confirm(entry, name, now)
                self._close_if_done(entry, now)
        return True

    def tick(self, now: float) -> None:
        """Close what time closes."""
        for entry in [e for e in self._open.values() if e.committed_at is not None]:
            self._expire(entry, now)
            self._close_if_done(entry, now)
        while self._closed and next(iter(self._closed.values()))[0] < now - KEPT_S:
            self._closed.popitem(last=False)
        self.forget(now)

    def forget(self, now: float) -> None:
        """Points long silent are gone: past their budget they refuse by themselves."""
        for name in [name for name, point in self.points.items() if self._is_gone(name, now - point.at)]:
            del self.points[name]
            self.late.pop(name, None)
            self.proven.discard(name)

    def _is_gone(self, name: str, silent_s: float) -> bool:
        return silent_s > LIVE_S and silent_s > self._budget_of(name) + GRACE_S

    def accepted(self, name: str, n: int, epoch: int, now: float) -> None:
        """A drill saw this point accept what entry `n` revoked."""
        self.late[name] = Late(n, epoch, now, "accepted")
        self.proven.discard(name)

    def refused(self, name: str) -> None:
        """A drill saw this point refuse what was revoked."""
        self.proven.add(name)
        if name in self.late and self.late[name].why == "accepted":
            del self.late[name]

    def live(self) -> Iterator[tuple[str, Point]]:
        """Who speaks."""
        yield from self.points.items()

    def outcomes(self) -> list[Completed]:
        """The outcomes ready to be recorded, oldest first; `recorded` drops them."""
        return [completed for _, completed in self._closed.values()]

    def recorded(self, n: int) -> None:
        """That outcome is on RECORD."""
        self._closed.pop(n, None)

    @property
    def ready(self) -> bool:
        """An outcome waits to be recorded."""
        return bool(self._closed)

    def _confirm(self, entry: Open, name: str, now: float) -> None:
        if entry.waiting.pop(name, None) is None or entry.committed_at is None:
            return
        ms = max(0.0, (now - entry.committed_at) * 1e3)
        entry.outcomes.append(PointOutcome(point=name, state="confirmed", ms=round(ms, 3)))

    def _expire(self, entry: Open, now: float) -> None:
        committed_at = entry.committed_at or now
        for name, budget in list(entry.waiting.items()):
            if now < committed_at + budget + GRACE_S:
                continue
            del entry.waiting[name]
            point = self.points.get(name)
            spoke = point is not None and point.at > committed_at + budget
            entry.outcomes.append(PointOutcome(point=name, state="uncontained" if spoke else "expired"))
            if spoke and self.late.get(name, _NONE).n < entry.n:
                self.late[name] = Late(entry.n, entry.epoch, committed_at)

    def _answered(self, name: str, n: int, epoch: int) -> None:
        late = self.late.get(name)
        if late is not None and late.why == "not_applied" and n >= late.n and epoch >= late.epoch:
            del self.late[name]

    def _close_if_done(self, entry: Open, now: float) -> None:
        if entry.waiting or entry.committed_at is None:
            return
        del self._open[entry.n]
        self._closed[entry.n] = (now, summary(entry))


def summary(entry: Open) -> Completed:
    """The completion record of a closed entry."""
    took = sorted(outcome.ms for outcome in entry.outcomes if outcome.ms is not None)
    listed = sorted(entry.outcomes, key=lambda o: o.state == "confirmed")[:LISTED]
    return Completed(
        n=entry.n,
        contained=all(outcome.state != "uncontained" for outcome in entry.outcomes),
        posture_revision=entry.posture,
        points=tuple(listed),
        omitted=len(entry.outcomes) - len(listed),
        committed_at=entry.committed_at or 0.0,
        last_ms=took[-1] if took else None,
        p50_ms=percentile(took, 0.50),
        p99_ms=percentile(took, 0.99),
    )


def percentile(ordered: list[float], share: float) -> float | None:
    """Nearest rank; none of nothing."""
    return ordered[max(0, -(-int(share * 100) * len(ordered) // 100) - 1)] if ordered else None
