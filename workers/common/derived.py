"""What follows from immutable objects, made once while they are in use: found by the objects themselves, which costs less than comparing.

    wire_of = Derived(Decision.wire)    # wire_of(decision) is bytes, made at the first call

Every entry holds the objects that it was made of, so that no others can have their identities meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

MAX_HELD = 1024

P = ParamSpec("P")
MadeT = TypeVar("MadeT")


class Derived(Generic[P, MadeT]):
    """A pure function of objects that nobody changes, with a bounded memory; the oldest makes room."""

    def __init__(self, make: Callable[P, MadeT], size: int = MAX_HELD) -> None:
        self._make = make
        self._size = size
        self._held: dict[tuple[int, ...], tuple[object, MadeT]] = {}

    def __call__(self, *of: P.args, **named: P.kwargs) -> MadeT:
        """What it makes of these; `named` are none."""
        key = tuple(map(id, of))
        held = self._held.get(key)
        if held is None:
            if len(self._held) >= self._size:
                del self._held[next(iter(self._held))]
            held = self._held[key] = (of, self._make(*of, **named))
        return held[1]
