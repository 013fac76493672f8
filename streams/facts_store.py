"""The latest message of every subject of FACTS, whatever its kind.  Pure: no clock, no network, and `apply` never raises.

Messages are kept as bytes and read when asked for, through a bounded cache; relations are tuples (facts_relations).  What is asked of
a kind in particular stands in the modules that `facts_table` puts together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from schemas.base import Wire
from schemas.facts import Fact, Kind, Relation
from streams.facts_keys import place_of, read_fact
from streams.facts_memo import AtRevision, Memo
from streams.facts_relations import Relations

MAX_DECODED = 8192

BodyT = TypeVar("BodyT", bound=Wire)  # a body of schemas.facts


class FactChange(NamedTuple):
    """One event was applied: this fact may be new, changed, deleted or unreadable now."""

    seq: int
    kind: Kind
    key: str


class Entry(NamedTuple):
    """One fact; a deleted one has no body."""

    key: str
    seq: int
    fact: Fact


class FactsStore:
    """The facts at one revision, of any kind.

    `memo` holds what others computed from it, until an event touches what they read; `at_revision` until the next event, whatever it
    touches.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.memo = Memo()
        self.at_revision = AtRevision()
        self._slots: dict[Kind, dict[str, tuple[int, bytes]]] = {kind: {} for kind in Kind}
        self._decoded: dict[tuple[Kind, str], Fact | None] = {}
        self._relations = Relations()
        self._uncontained: set[str] = set()  # names of points
        self._versions: dict[Kind, int] = dict.fromkeys(Kind, 0)

    def apply(self, seq: int, subject: str, body: bytes) -> FactChange | None:
        """One message of FACTS.  Older ones than the revision change nothing."""
        if seq <= self.revision:
            return None
        self.revision = seq
        self.at_revision.forget()
        place = place_of(subject)
        if place is None:
            return None
        kind, key = place
        self._versions[kind] = seq
        if kind is Kind.RELATION:
            self._apply_relation(seq, key, body)
        else:
            self._slots[kind][key] = (seq, body)
            self._decoded.pop(place, None)
        if kind is Kind.POINT:
            self._apply_point(key, body)
        self.memo.touch(kind.value, f"{kind.value}/{key}")
        return FactChange(seq, kind, key)

    def _apply_point(self, name: str, body: bytes) -> None:
        fact = read_fact(Kind.POINT, name, body)
        if fact is not None and fact.body is None:
            self._uncontained.discard(name)
        else:
            self._uncontained.add(name)

    def _apply_relation(self, seq: int, key: str, body: bytes) -> None:
        fact = read_fact(Kind.RELATION, key, body)
        self.memo.touch(*self._relations.drop(key))
        if fact is not None and isinstance(fact.body, Relation):
            self._slots[Kind.RELATION].pop(key, None)
            self.memo.touch(*self._relations.put(seq, fact, fact.body))
        else:
            self._slots[Kind.RELATION][key] = (seq, body)

    def version(self, kind: Kind) -> int:
        """The revision at which something of this kind last changed."""
        return self._versions[kind]

    def revision_of(self, kind: Kind, key: str) -> int:
        """The revision of one fact, deleted and unreadable ones included; 0: never written."""
        edge = self._relations.get(key) if kind is Kind.RELATION else None
        return edge.seq if edge is not None else self._slots[kind].get(key, (0, b""))[0]

    def get(self, kind: Kind, key: str) -> tuple[int, Fact] | None:
        """One fact and its revision; a deleted one has no body; an unreadable one is none."""
        edge = self._relations.get(key) if kind is Kind.RELATION else None
        if edge is not None:
            return edge.seq, edge.fact()
        fact = self._fact(kind, key)
        return None if fact is None else (self._slots[kind][key][0], fact)

    def list(self, kind: Kind) -> Iterator[Entry]:
        """Every readable fact of a kind, deleted ones included, by key."""
        keys = (*self._slots[kind], *self._relations.keys()) if kind is Kind.RELATION else self._slots[kind]
        for key in sorted(keys):
            held = self.get(kind, key)
            if held is not None:
                yield Entry(key, *held)

    def unreadable(self, kind: Kind) -> tuple[str, ...]:
        """The keys whose latest message cannot be believed."""
        return tuple(key for key in sorted(self._slots[kind]) if self._fact(kind, key) is None)

    def _fact(self, kind: Kind, key: str) -> Fact | None:
        place = (kind, key)
        if place in self._decoded:
            return self._decoded[place]
        slot = self._slots[kind].get(key)
        if slot is None:
            return None
        fact = read_fact(kind, key, slot[1])
        if len(self._decoded) >= MAX_DECODED:
            del self._decoded[next(iter(self._decoded))]
        self._decoded[place] = fact
        return fact

    def _body(self, kind: Kind, key: str, model: type[BodyT]) -> BodyT | None:
        fact = self._fact(kind, key)
        return fact.body if fact is not None and isinstance(fact.body, model) else None

    def _bodies(self, kind: Kind, model: type[BodyT]) -> tuple[BodyT, ...]:
        found = (self._body(kind, key, model) for key in sorted(self._slots[kind]))
        return tuple(body for body in found if body is not None)

    def _unreadable_at(self, kind: Kind, key: str) -> bool:
        return key in self._slots[kind] and self._fact(kind, key) is None
