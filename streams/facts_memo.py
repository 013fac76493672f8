"""Values computed from facts, each kept until an event touches something that it read.  Pure; no value expires by a timer.

`Memo` knows what each value read, `AtRevision` does not have to.  What a value read is named by tokens: `agent/<key>` for one fact,
`policy` for a whole kind, and the ends of relations (facts_relations.tokens).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

MAX_VALUES = 16_384


class AtRevision:
    """Values that follow from all facts as they are, kept until the next event, whatever it is about; when full, all make room."""

    def __init__(self, max_values: int = MAX_VALUES) -> None:
        self._max = max_values
        self._values: dict[Hashable, Any] = {}
        self.get = self._values.get  # the value, or none

    def put(self, key: Hashable, value: Any) -> None:
        """Keep it."""
        if len(self._values) >= self._max:
            self._values.clear()
        self._values[key] = value

    def forget(self) -> None:
        """An event came."""
        self._values.clear()


class Memo:
    """A bounded cache; the oldest value goes first."""

    def __init__(self, max_values: int = MAX_VALUES) -> None:
        self._max = max_values
        self._values: dict[Hashable, tuple[Any, tuple[str, ...]]] = {}
        self._readers: dict[str, set[Hashable]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> Any:
        """The value, or none."""
        held = self._values.get(key)
        return None if held is None else held[0]

    def put(self, key: Hashable, value: Any, reads: Iterable[str]) -> None:
        """Keep a value that follows from what `reads` names, and from nothing else."""
        self._drop(key)
        while len(self._values) >= self._max:
            self._drop(next(iter(self._values)))
        tokens = tuple(set(reads))
        self._values[key] = (value, tokens)
        for token in tokens:
            self._readers.setdefault(token, set()).add(key)

    def touch(self, *tokens: str) -> None:
        """Something changed: forget every value that read it."""
        for token in tokens:
            readers = self._readers.get(token)
            for key in tuple(readers) if readers else ():
                self._drop(key)

    def _drop(self, key: Hashable) -> None:
        held = self._values.pop(key, None)
        for token in () if held is None else held[1]:
            readers = self._readers[token]
            readers.discard(key)
            if not readers:
                del self._readers[token]
