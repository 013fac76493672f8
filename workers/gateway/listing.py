"""What an agent may call, asked again and again: found once, and not anew until it may differ and its asker's share allows it.

The gates are asked for every tool and purpose: 40 ms for a hundred tools (measured), in which the gateway does nothing else.  So however
often one connection asks, finding its answer takes `SHARE` of the time at most, and what it hears in between is the last one.  It decides
nothing: each call is decided when it is made.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

from schemas.invocation import ToolList

SHARE = 0.05
KEPT_S = 5.0  # where no fact has changed: relations and consents end by the clock
REMEMBERED = 4096  # connections; the one longest unheard is forgotten first


class _Listed(NamedTuple):
    tools: ToolList
    at: float
    cost_s: float


class Listings:
    """By connection."""

    def __init__(self, stopwatch: Callable[[], float] = perf_counter) -> None:
        self._stopwatch = stopwatch
        self._held: OrderedDict[str, _Listed] = OrderedDict()

    def of(self, name: str, revision: int, now: float, find: Callable[[], ToolList]) -> ToolList:
        """The list as it is at this revision of the facts, or as it was a moment ago."""
        held = self._held.pop(name, None)
        if held is None or not _stands(held, revision, now):
            began = self._stopwatch()
            held = _Listed(find(), now, self._stopwatch() - began)
        self._held[name] = held
        if len(self._held) > REMEMBERED:
            self._held.popitem(last=False)
        return held.tools


def _stands(held: _Listed, revision: int, now: float) -> bool:
    age = now - held.at
    return 0 <= age < (KEPT_S if held.tools.facts_revision == revision else held.cost_s / SHARE)
