"""The slice of the relationship graph that one request is evaluated over: what its agent, its person and its tool belong to.

Cut from the facts in one go, bounded, and kept until an event touches something it read.  From the persons' side it follows `member_of`,
from the tool's side `contains`; an `operates` between the two ends is a right.  Expired relations count for nothing at `now`; a slice
knows between which two times it would look the same.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.facts_relations import Edge, tokens
from streams.facts_table import FactsTable
from workers.common.decision.patterns import matches

MAX_EDGES = 10_000
MAX_DEPTH = 8


class SliceTooLarge(Exception):
    """More edges or hops than a request may cost.  It denies: what was not looked at might forbid."""


@dataclass(frozen=True, slots=True)
class Right:
    """One way from a holder to the tool."""

    actions: tuple[str, ...]
    path: tuple[str, ...]


class Consent(NamedTuple):
    """A person lets an agent act for them: what, for what, and until when."""

    actions: tuple[str, ...]
    purposes: tuple[str, ...]
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Slice:
    """Immutable.  `*_groups` are the entities above each, for the policies."""

    agent_groups: tuple[str, ...]
    user_groups: tuple[str, ...]
    tool_groups: tuple[str, ...]
    agent_rights: tuple[Right, ...]
    user_rights: tuple[Right, ...]
    consents: tuple[Consent, ...] | None  # each one that is needed; none: one is missing
    user_known: bool
    since: int
    until: int
    reads: frozenset[str]

    def holds_at(self, now: int) -> bool:
        """No relation of it began to count, or ceased to, between when it was cut and `now`."""
        return self.since <= now < self.until

    def agent_operates(self, action: str) -> bool:
        """The agent, or a team of it, operates the tool."""
        return any(matches(right.actions, action) for right in self.agent_rights)

    def user_operates(self, action: str) -> bool:
        """The person, or a team of theirs, operates the tool."""
        return any(matches(right.actions, action) for right in self.user_rights)

    def user_delegates(self, action: str, purpose: str) -> bool:
        """The person lets every agent it takes do this, for this."""
        given = self.consents
        return given is not None and all(matches(each.actions, action) and matches(each.purposes, purpose) for each in given)


class Ends(NamedTuple):
    """What a slice is cut for.  `delegates` are the agents that the person must be letting act."""

    agent: str
    tool: str
    user: str | None
    delegates: tuple[str, ...]


def slice_for(facts: FactsTable, ends: Ends, now: int) -> Slice:
    """The slice, from the memo where it still holds."""
    held: Slice | None = facts.memo.get(ends)
    if held is None or not held.holds_at(now):
        held = _cut(facts, ends, now)
        facts.memo.put(ends, held, held.reads)
    return held


def _cut(facts: FactsTable, ends: Ends, now: int) -> Slice:
    walk, user = _Walk(facts, now), ends.user
    teams = walk.closure(f"agent:{ends.agent}", "member_of", inward=False)
    user_teams = walk.closure(f"user:{user}", "member_of", inward=False) if user is not None else {}
    groups = walk.closure(f"tool:{ends.tool}", "contains", inward=True)
    delegated = [walk.edge(f"user:{user}", "delegates_to", f"agent:{to}") for to in ends.delegates] if user is not None else []
    found = tuple(Consent(edge.actions, edge.purposes, edge.expires_at) for edge in delegated if edge is not None)
    return Slice(
        agent_groups=tuple(sorted(teams)),
        user_groups=tuple(sorted(user_teams)),
        tool_groups=tuple(sorted(groups)),
        agent_rights=walk.rights(teams, groups),
        user_rights=walk.rights(user_teams, groups),
        consents=found if user is not None and len(found) == len(delegated) else None,
        user_known=user is not None and walk.knows(f"user:{user}"),
        since=walk.since,
        until=walk.until,
        reads=frozenset(walk.reads),
    )


Paths = dict[str, tuple[str, ...]]  # entity to the shortest way there, the first in order among equals


@dataclass(slots=True)
class _Walk:
    facts: FactsTable
    now: int
    reads: set[str] = field(default_factory=set)
    since: int = 0
    until: int = sys.maxsize
    left: int = MAX_EDGES

    def closure(self, start: str, relation: str, *, inward: bool) -> Paths:
        """Everything reachable over one relation, `start` included."""
        paths: Paths = {start: (start,)}
        frontier = [start]
        for _ in range(MAX_DEPTH + 1):
            following: list[str] = []
            for entity in frontier:
                for near in self._next(entity, relation, inward=inward):
                    if near not in paths:
                        paths[near] = (*paths[entity], near)
                        following.append(near)
            if not following:
                return paths
            frontier = following
        raise SliceTooLarge

    def _next(self, entity: str, relation: str, *, inward: bool) -> list[str]:
        edges = self._at(tokens("", relation, entity)[1] if inward else tokens(entity, relation, "")[0])
        return sorted(edge.subject if inward else edge.object for edge in edges)

    def knows(self, entity: str) -> bool:
        """Something starts there, now."""
        return any(self._at(tokens(entity, relation, "")[0]) for relation in ("member_of", "operates", "delegates_to"))

    def _at(self, end: str) -> list[Edge]:
        self.reads.add(end)
        self._spend(self.facts.count_at(end))
        return [edge for edge in self.facts.relations_at(end) if self._live(edge)]

    def rights(self, holders: Paths, objects: Paths) -> tuple[Right, ...]:
        """Every `operates` from a holder to an object, the shortest way first."""
        self._spend(len(holders) * len(objects))
        found = [
            Right(edge.actions, (*holders[holder], *reversed(objects[obj])))
            for holder in holders
            for obj in objects
            if (edge := self.edge(holder, "operates", obj)) is not None
        ]
        return tuple(sorted(found, key=lambda right: (len(right.path), right.path)))

    def edge(self, subject: str, relation: str, obj: str) -> Edge | None:
        """One relation, if it counts now."""
        key, edge = self.facts.relation(subject, relation, obj)
        self.reads.add(f"relation/{key}")
        return edge if edge is not None and self._live(edge) else None

    def _live(self, edge: Edge) -> bool:
        if edge.expires_at is None:
            return True
        if edge.expires_at <= self.now:
            self.since = max(self.since, edge.expires_at)
            return False
        self.until = min(self.until, edge.expires_at)
        return True

    def _spend(self, edges: int) -> None:
        self.left -= edges
        if self.left < 0:
            raise SliceTooLarge
