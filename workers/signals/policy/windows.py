"""Counting signals within a window of time.  Pure, and a function of the set of signals: their order and repetition change nothing.

A window ends at a signal.  It is full when so many different signals that meet the rule's conditions, about the same target, happened
within the rule's time up to and including that one; ties are ordered by id.  A signal that arrives late may fill windows that end at
later ones, so all of these are looked at again.  More signals only ever fill more windows; nothing is uncounted.

What a window is good for begins with the oldest of the signals it needed: an operator, or a contrary signal of its sender, that came
after it takes the window back, and the count starts anew.  Each sender in the window takes back its own part alone.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from schemas.facts import ResponsePolicy
from schemas.responses import ResponseRule
from workers.signals.policy.assess import Signal
from workers.signals.policy.rules import applies, counting
from workers.signals.policy.targets import Target, about, aimed

LATE_S = 3_600  # what was stored longer than this after it happened is in no window
MAX_SEEN = 20_000  # signals of one sender that are remembered; a flood forgets its own oldest, and nobody else's

Wanted = Callable[[Signal], bool]


class Window(NamedTuple):
    """The signal it ends at; when the oldest that it needed happened; and each sender in it, with the last that it said."""

    end: Signal
    since: int
    senders: tuple[tuple[str, int], ...]
    at: int  # when SIGNALS took the last of them
    signals: int  # how many it holds


class Seen:
    """Signals by what they are about."""

    def __init__(self) -> None:
        self._about: dict[Target, list[tuple[int, str, Signal]]] = {}
        self._ids: set[str] = set()
        self._of: dict[str, deque[Signal]] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, signal: Signal) -> None:
        """Once; one that came too late is in no window."""
        if signal.id in self._ids or signal.at - signal.event_time > LATE_S:
            return
        own = self._of.setdefault(signal.iss, deque())
        if len(own) >= MAX_SEEN:
            self._drop(own.popleft())
        own.append(signal)
        self._ids.add(signal.id)
        for target in about(signal.subject):
            insort(self._about.setdefault(target, []), (signal.event_time, signal.id, signal), key=_order)

    def forget(self, before: float) -> None:
        """What was stored earlier; each sender's in the order in which it was stored."""
        for own in self._of.values():
            while own and own[0].at < before:
                self._drop(own.popleft())

    def windows(self, rule: ResponseRule, target: Target, around: Signal, wanted: Wanted) -> tuple[Window, ...]:
        """Every full window of the rule about this target that `around` may lie in, of the signals that are wanted."""
        within_s = rule.within_s or 0
        rows = self._about.get(target, [])
        low = bisect_right(rows, around.event_time - within_s, key=_time)
        high = bisect_right(rows, around.event_time + within_s, key=_time)
        met = [row[2] for row in rows[low:high] if _meets(rule, row[2], target) and wanted(row[2])]
        return tuple(window for window in _full(met, rule.count, within_s) if _not_before(window.end, around))

    def _drop(self, signal: Signal) -> None:
        self._ids.discard(signal.id)
        for target in about(signal.subject):
            rows = self._about[target]
            rows.remove((signal.event_time, signal.id, signal))
            if not rows:
                del self._about[target]


def horizon_s(policies: Iterable[ResponsePolicy]) -> int | None:
    """For how long signals have to be remembered, from when they were stored; none where no rule counts."""
    windows = [chosen.rule.within_s or 0 for chosen in counting(policies)]
    return max(windows) + LATE_S if windows else None


def _full(met: Sequence[Signal], count: int, within_s: int) -> Iterator[Window]:
    """Every full window over signals in the order of their time."""
    times = [signal.event_time for signal in met]
    last: dict[str, int] = {}
    newest: deque[int] = deque()  # positions of this window, by `at`, the newest first: each newer than all after it
    for index, end in enumerate(met):
        last[end.iss] = end.event_time
        begin = bisect_right(times, end.event_time - within_s)
        while newest and met[newest[-1]].at <= end.at:
            newest.pop()
        newest.append(index)
        while newest[0] < begin:
            newest.popleft()
        if index - begin + 1 >= count:
            senders = tuple(sorted((iss, said) for iss, said in last.items() if said > end.event_time - within_s))
            yield Window(end, times[index - count + 1], senders, met[newest[0]].at, index - begin + 1)


def _not_before(end: Signal, around: Signal) -> bool:
    return (end.event_time, end.id) >= (around.event_time, around.id)


def _time(row: tuple[int, str, Signal]) -> int:
    return row[0]


def _order(row: tuple[int, str, Signal]) -> tuple[int, str]:
    return row[0], row[1]


def _meets(rule: ResponseRule, signal: Signal, target: Target) -> bool:
    aim = aimed(signal.subject, rule) if not signal.contrary and applies(rule, signal) else None
    return aim is not None and aim.target == target
