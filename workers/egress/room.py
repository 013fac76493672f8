"""How many calls one caller, and one tool, may have under way: a slow upstream must not let one agent take every connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

PER_CALLER = 32  # of the 256 connections that the egress serves at once
PER_TOOL = 128


class Full(Exception):
    """As many as may be are under way."""


class Room:
    """Counts; every tool of a process shares one."""

    def __init__(self, per_caller: int = PER_CALLER, per_tool: int = PER_TOOL) -> None:
        self._most = {"caller": per_caller, "tool": per_tool}
        self._held: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def taken(self, caller: str, tool: str) -> Iterator[None]:
        """For the length of a block.  Raises Full."""
        places = (("caller", caller), ("tool", tool))
        if any(self._held[place] >= self._most[place[0]] for place in places):
            raise Full
        self._held.update(places)
        try:
            yield
        finally:
            for place in places:
                self._held[place] -= 1
                if not self._held[place]:
                    del self._held[place]
