"""Relations as interned tuples, indexed by where they start and where they lead.

A million of them is an ordinary fabric, so they are kept neither as models nor as bytes: about 500 bytes each, and plain tuples of
strings and numbers, which the garbage collector stops to look at.  The reason of a change stays in the stream's history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from sys import intern
from typing import NamedTuple, TypeAlias

from schemas.facts import Fact, Kind, Relation

_Row: TypeAlias = "tuple[int, str, str, str, str, tuple[str, ...], tuple[str, ...], int | None, str]"


class Edge(NamedTuple):
    """One relation.  `actions` and `purposes` are patterns; `expires_at` seconds since the epoch; `seq` its revision."""

    seq: int
    key: str
    subject: str
    relation: str
    object: str
    actions: tuple[str, ...]
    purposes: tuple[str, ...]
    expires_at: int | None
    by: str

    def live(self, now: int) -> bool:
        """Not expired at `now`."""
        return self.expires_at is None or now < self.expires_at

    def fact(self) -> Fact:
        """As it stood in its message, but for the reason of the change."""
        body = Relation.model_construct(
            subject=self.subject,
            relation=self.relation,
            object=self.object,
            actions=self.actions,
            purposes=self.purposes,
            expires_at=self.expires_at,
        )
        return Fact(kind=Kind.RELATION, key=self.key, body=body, by=self.by)


class Relations:
    """The table.  Pure."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._out = _Index()  # by where it starts
        self._in = _Index()  # by where it leads
        self._patterns: dict[tuple[str, ...], tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, seq: int, fact: Fact, body: Relation) -> tuple[str, ...]:
        """Add or replace; the memo tokens of what changed."""
        subject, obj = intern(body.subject), intern(body.object)
        actions, purposes = (self._patterns.setdefault(patterns, patterns) for patterns in (body.actions, body.purposes))
        self.drop(fact.key)
        row: _Row = (seq, fact.key, subject, intern(body.relation), obj, actions, purposes, body.expires_at, intern(fact.by))
        self._rows[fact.key] = row
        out, into = tokens(row[2], row[3], row[4])
        self._out.add(out, row)
        self._in.add(into, row)
        return out, into

    def drop(self, key: str) -> tuple[str, ...]:
        """Remove if there; the memo tokens of what changed."""
        row = self._rows.pop(key, None)
        if row is None:
            return ()
        out, into = tokens(row[2], row[3], row[4])
        self._out.remove(out, key)
        self._in.remove(into, key)
        return out, into

    def get(self, key: str) -> Edge | None:
        """One relation."""
        row = self._rows.get(key)
        return None if row is None else Edge._make(row)

    def keys(self) -> Iterable[str]:
        """All keys, in no order."""
        return self._rows.keys()

    def subjects(self) -> Iterator[tuple[str, str]]:
        """Of each its key and where it starts, without a model made of it."""
        for row in self._rows.values():
            yield row[1], row[2]

    def at(self, end: str) -> tuple[Edge, ...]:
        """What starts or ends at an end (`tokens`), oldest first."""
        return tuple(sorted(map(Edge._make, self._index(end).of(end))))

    def count(self, end: str) -> int:
        """How many there are at an end, without looking at them."""
        return len(self._index(end).of(end))

    def _index(self, end: str) -> _Index:
        return self._out if end.startswith(OUT) else self._in


OUT, INTO = ">", "<"


def tokens(subject: str, relation: str, obj: str) -> tuple[str, str]:
    """Both ends of a relation: `>member_of user:x` and `<member_of team:y`.  They index it, and name what a memo read."""
    return f"{OUT}{relation} {subject}", f"{INTO}{relation} {obj}"


class _Index:
    """End to rows: one row bare, several by key (a team of a million members must not cost a million to change)."""

    def __init__(self) -> None:
        self._held: dict[str, _Row | dict[str, _Row]] = {}

    def add(self, end: str, row: _Row) -> None:
        held = self._held.get(end)
        if held is None:
            self._held[end] = row
        elif isinstance(held, dict):
            held[row[1]] = row
        else:
            self._held[end] = {held[1]: held, row[1]: row}

    def remove(self, end: str, key: str) -> None:
        held = self._held.get(end)
        if isinstance(held, dict) and len(held) > 1:
            held.pop(key, None)
        else:
            self._held.pop(end, None)

    def of(self, end: str) -> Collection[_Row]:
        held = self._held.get(end)
        if held is None:
            return ()
        return held.values() if isinstance(held, dict) else (held,)
