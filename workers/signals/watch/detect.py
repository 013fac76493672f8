"""Whether what was seen is what a detection looks for.  Pure but for its own memory: no clock, no logger, no await.

What a detector finds depends on what it saw within its window alone, never on what it found before.  So two copies that began at
different times, and one that was restarted, find the same; and the same finding has the same `once`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.detections import ClientFailures, Cycle, DetectionRule, FanOut, FirstUse, GuardRefusal, InOrder, NeverIssued, Refusals, Step
from streams.subjects import parse_connection_name
from workers.common.decision.patterns import matches
from workers.signals.watch.seen import Seen

MAX_GROUPS = 50_000  # of one detection; the one longest unseen is forgotten first
ISSUED_S = 600.0  # how long a token is remembered: the longest life, skew, and `LATE_S`
LATE_S = 240.0  # what a guard may take to report


@dataclass(frozen=True, slots=True)
class Finding:
    """A detection fired.  `once` names what was found, so that it is said once."""

    rule: DetectionRule
    agent: str
    instance: str
    txn: str | None
    once: str
    what: str


class Issued:
    """The tokens of the last minutes, as RECORD tells of them: a guard's word counts for these alone.

    `since`: from when on it was told everything, in seconds since the epoch.
    """

    def __init__(self, since: float) -> None:
        self._since = since
        self._held: OrderedDict[str, Seen] = OrderedDict()

    def note(self, seen: Seen) -> None:
        """A grant, or the time that passes."""
        if seen.kind == "granted" and seen.jti is not None:
            self._held[seen.jti] = seen
        while self._held and next(iter(self._held.values())).at < seen.at - ISSUED_S:
            self._held.popitem(last=False)

    def knows(self, seen: Seen) -> bool:
        """The token that a guard names was issued, to whom the guard says, in the transaction it says."""
        held = self._held.get(seen.jti or "")
        return held is not None and (held.agent, held.instance, held.txn) == (seen.agent, seen.instance, seen.txn)

    def lacks(self, seen: Seen) -> bool:
        """No token of that id was issued.  A report that came so late that this cannot be known is given the benefit of the doubt."""
        judged = seen.at >= self._since + ISSUED_S and seen.said_at is not None and seen.at - seen.said_at <= LATE_S
        return judged and seen.jti not in self._held


@dataclass
class _Group:
    """What is remembered of one transaction, instance or agent."""

    at: float = 0.0
    starts: dict[int, tuple[float, int]] = field(default_factory=dict)  # steps matched to when the first of them was, and its sequence
    tools: dict[str, float] = field(default_factory=dict)  # to their latest use
    times: deque[float] = field(default_factory=deque)  # of the latest calls, or of the refusals since the last grant


class Detector:
    """One detection."""

    def __init__(self, rule: DetectionRule, issued: Issued) -> None:
        self.rule = rule
        self._issued = issued
        self._groups: OrderedDict[str, _Group] = OrderedDict()
        looks: dict[type[Any], Callable[[Seen], Finding | None]] = {
            InOrder: self._sequence,
            FanOut: self._fan_out,
            Cycle: self._cycle,
            Refusals: self._refusals,
            FirstUse: self._first_use,
            GuardRefusal: self._guard_refusal,
            NeverIssued: self._never_issued,
            ClientFailures: self._client_failures,
        }
        self._look = looks[type(rule.when)]

    def observe(self, seen: Seen) -> Finding | None:
        """In the order of RECORD."""
        if not _covers(self.rule, seen.agent):
            return None
        return self._look(seen)

    def _group(self, seen: Seen) -> _Group | None:
        key = {"transaction": seen.txn, "instance": seen.instance, "agent": seen.agent}[self.rule.by]
        if key is None:
            return None
        group = self._groups.setdefault(key, _Group())
        self._groups.move_to_end(key)
        group.at = seen.at
        while len(self._groups) > MAX_GROUPS or next(iter(self._groups.values())).at < seen.at - self.rule.within_s:
            self._groups.popitem(last=False)
        return group

    def _sequence(self, seen: Seen) -> Finding | None:
        when = self.rule.when
        if seen.kind != "granted" or not isinstance(when, InOrder) or (group := self._group(seen)) is None:
            return None
        found = None
        for done in range(len(when.steps) - 1, -1, -1):
            start = (seen.at, seen.seq) if done == 0 else group.starts.get(done)
            if start is None or start[0] < seen.at - self.rule.within_s or not _is_step(seen, when.steps[done]):
                continue
            if done + 1 == len(when.steps):
                found = self._found(seen, str(start[1]), f"{len(when.steps)} calls in the order that the detection names")
            else:
                group.starts[done + 1] = max(start, group.starts.get(done + 1, start))
        return found

    def _fan_out(self, seen: Seen) -> Finding | None:
        when = self.rule.when
        if seen.kind != "granted" or not isinstance(when, FanOut) or (group := self._group(seen)) is None:
            return None
        group.tools[seen.tool or ""] = seen.at
        group.tools = {tool: at for tool, at in group.tools.items() if at >= seen.at - self.rule.within_s}
        if len(group.tools) <= when.more_than:
            return None
        return self._found(seen, self._window(seen), f"{len(group.tools)} different tools within {self.rule.within_s} s")

    def _cycle(self, seen: Seen) -> Finding | None:
        if seen.kind != "granted" or seen.agent not in seen.before[:-1] or seen.before[-1] == seen.agent:
            return None
        return self._found(seen, seen.txn or str(seen.seq), "the chain comes back to an agent that acted before")

    def _refusals(self, seen: Seen) -> Finding | None:
        when = self.rule.when
        if seen.kind not in {"granted", "refused"} or not isinstance(when, Refusals) or (group := self._group(seen)) is None:
            return None
        if seen.kind == "granted":
            group.times.clear()
            return None
        if when.reasons and seen.reason not in when.reasons:
            return None
        if _count(group.times, seen.at, self.rule.within_s, when.at_least) < when.at_least:
            return None
        return self._found(seen, self._window(seen), f"{when.at_least} refusals in a row")

    def _first_use(self, seen: Seen) -> Finding | None:
        when = self.rule.when
        if seen.kind != "granted" or not isinstance(when, FirstUse) or (group := self._group(seen)) is None:
            return None
        used = group.tools.get(seen.tool or "")
        new = used is None or used < seen.at - self.rule.within_s
        enough = _count(group.times, seen.at, self.rule.within_s, when.history + 1) > when.history
        group.tools[seen.tool or ""] = seen.at
        return self._found(seen, str(seen.seq), f"the first use of {seen.tool}") if new and enough else None

    def _guard_refusal(self, seen: Seen) -> Finding | None:
        when = self.rule.when
        if seen.kind != "rejected" or not isinstance(when, GuardRefusal) or seen.reason not in when.reasons:
            return None
        return self._found(seen, f"{seen.jti}.{seen.reason}", f"{seen.tool} refused: {seen.reason}") if self._issued.knows(seen) else None

    def _never_issued(self, seen: Seen) -> Finding | None:
        if seen.kind not in {"served", "rejected"} or not self._issued.lacks(seen) or seen.point is None:
            return None
        instance, workload = parse_connection_name(seen.point)
        what = f"{seen.tool}: a token that RECORD does not know"
        return Finding(self.rule, str(workload), instance, None, f"{self.rule.name}\0{seen.jti}", what)

    def _client_failures(self, seen: Seen) -> Finding | None:
        """Each failure counts, though an event tells of many; of more than is asked for nobody needs to know."""
        when = self.rule.when
        if seen.kind != "unproven" or not isinstance(when, ClientFailures) or (group := self._group(seen)) is None:
            return None
        times = min(seen.replays if when.replayed else seen.times, when.at_least)
        held = max((_count(group.times, seen.at, self.rule.within_s, when.at_least) for _ in range(times)), default=0)
        if held < when.at_least:
            return None
        what = "assertions used again" if when.replayed else "failed authentications"
        return self._found(seen, self._window(seen), f"{when.at_least} {what} within {self.rule.within_s} s")

    def _window(self, seen: Seen) -> str:
        """Once in a window of the clock: what goes on is not said with every call."""
        key = {"transaction": seen.txn, "instance": seen.instance, "agent": seen.agent}[self.rule.by]
        return f"{key}.{int(seen.at // self.rule.within_s)}"

    def _found(self, seen: Seen, once: str, what: str) -> Finding:
        return Finding(self.rule, seen.agent, seen.instance, seen.txn, f"{self.rule.name}\0{once}", what)


def _count(times: deque[float], at: float, within_s: float, most: int) -> int:
    """One more; how many there were within the window, as far as anyone asks."""
    times.append(at)
    while len(times) > most or times[0] < at - within_s:
        times.popleft()
    return len(times)


def _is_step(seen: Seen, step: Step) -> bool:
    return matches(step.tools, seen.tool or "") and any(matches(step.actions, action) for action in seen.actions)


def _covers(rule: DetectionRule, agent: str) -> bool:
    if not rule.namespaces:
        return True
    try:
        above = {str(prefix) for prefix in SpiffeID.parse(agent).prefixes()}
    except InvalidSpiffeID:
        return False
    return not above.isdisjoint(rule.namespaces)
