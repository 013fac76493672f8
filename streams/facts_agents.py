"""Facts about agents, tools, namespaces, and enforcement points that are not contained."""

from __future__ import annotations

from schemas.facts import Agent, Bounds, Kind, Namespace, Point, Tool
from streams.facts_names import prefixes_of, subject_of, workload_of
from streams.facts_store import FactsStore

NOTHING = Bounds(purposes=(), tools=(), actions=(), depth=0)


class AgentFacts(FactsStore):
    """Look-ups of a `FactsTable`."""

    def agent(self, spiffe_id: str) -> Agent | None:
        """One agent, whatever its state."""
        key = subject_of(spiffe_id)
        return None if key is None else self._body(Kind.AGENT, key, Agent)

    def knows_agent(self, spiffe_id: str) -> bool:
        """There is a record of it, even one that cannot be read."""
        key = subject_of(spiffe_id)
        return self.agent(spiffe_id) is not None or (key is not None and self._unreadable_at(Kind.AGENT, key))

    def agents(self) -> tuple[Agent, ...]:
        """All agents, by key."""
        return self._bodies(Kind.AGENT, Agent)

    def tool(self, name: str) -> Tool | None:
        """One tool, whatever its state."""
        return self._body(Kind.TOOL, name, Tool)

    def tools(self) -> tuple[Tool, ...]:
        """All tools, by name."""
        return self._bodies(Kind.TOOL, Tool)

    def namespaces_above(self, spiffe_id: str) -> tuple[Namespace, ...]:
        """Every registered prefix of the ID, the widest first; one that cannot be read allows nothing."""
        held = self._slots[Kind.NAMESPACE]
        found = []
        for prefix, key in prefixes_of(spiffe_id):
            if key in held:
                space = self._body(Kind.NAMESPACE, key, Namespace)
                if space is None and self._unreadable_at(Kind.NAMESPACE, key):
                    space = Namespace(prefix=prefix, owner="", bounds=NOTHING)
                found.append(space)
        return tuple(space for space in found if space is not None)

    def uncontained(self) -> tuple[Point | str, ...]:
        """The points that are not contained; the bare name of one whose fact cannot be read."""
        return tuple(self._body(Kind.POINT, name, Point) or name for name in sorted(self._uncontained))

    def uncontained_of(self, workload: str) -> tuple[str, ...]:
        """The names of those of this workload; by their name alone, so that one that cannot be read counts."""
        return tuple(name for name in sorted(self._uncontained) if workload_of(name) == workload)
