"""FACTS as they would stand once a set of changes is committed.  Pure; nothing is copied, the changes lie over the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from weft.spiffeid import SpiffeID

from schemas.commands import Change
from schemas.facts import Agent, FactBody, Kind, Namespace, Person, Tool, Transmitter, UserIssuer
from streams.facts_table import FactsTable


class Prospect:
    """The table with the changes over it.  A change per fact: the caller has refused duplicates."""

    def __init__(self, table: FactsTable, changes: Iterable[Change]) -> None:
        self.table = table
        self.changes = {(change.kind, change.key): change for change in changes}

    def before(self, kind: Kind, key: str) -> FactBody | None:
        """The fact as it stands."""
        held = self.table.get(kind, key)
        return held[1].body if held is not None else None

    def after(self, kind: Kind, key: str) -> FactBody | None:
        """The fact as it would stand."""
        change = self.changes.get((kind, key))
        return change.body if change is not None else self.before(kind, key)

    def agent(self, spiffe_id: str) -> Agent | None:
        """One agent, whatever its state."""
        body = self.after(Kind.AGENT, SpiffeID.parse(spiffe_id).subject)
        return body if isinstance(body, Agent) else None

    def tool(self, name: str) -> Tool | None:
        """One tool, whatever its state."""
        body = self.after(Kind.TOOL, name)
        return body if isinstance(body, Tool) else None

    def namespace(self, prefix: str) -> Namespace | None:
        """One namespace."""
        body = self.after(Kind.NAMESPACE, SpiffeID.parse(prefix).subject)
        return body if isinstance(body, Namespace) else None

    def namespaces_above(self, spiffe_id: str) -> tuple[Namespace, ...]:
        """Every registered prefix of the ID, the widest first."""
        found = (self.namespace(str(prefix)) for prefix in SpiffeID.parse(spiffe_id).prefixes())
        return tuple(space for space in found if space is not None)

    def agents(self) -> Iterator[Agent]:
        """Every agent."""
        yield from (body for body in self._all(Kind.AGENT) if isinstance(body, Agent))

    def tools(self) -> Iterator[Tool]:
        """Every tool."""
        yield from (body for body in self._all(Kind.TOOL) if isinstance(body, Tool))

    def people(self) -> Iterator[Person]:
        """Every operator."""
        yield from (body for body in self._all(Kind.PERSON) if isinstance(body, Person))

    @cached_property
    def issuers(self) -> tuple[UserIssuer, ...]:
        """Every provider of people."""
        return tuple(body for body in self._all(Kind.ISSUER) if isinstance(body, UserIssuer))

    def transmitters(self) -> Iterator[Transmitter]:
        """Every transmitter."""
        yield from (body for body in self._all(Kind.TRANSMITTER) if isinstance(body, Transmitter))

    def deleted(self, kind: Kind) -> Iterator[Change]:
        """The changes that would delete a fact of this kind."""
        yield from (change for change in self.changes.values() if change.kind is kind and change.body is None)

    def _all(self, kind: Kind) -> Iterator[FactBody]:
        for entry in self.table.list(kind):
            if (kind, entry.key) not in self.changes and entry.fact.body is not None:
                yield entry.fact.body
        for change in self.changes.values():
            if change.kind is kind and change.body is not None:
                yield change.body
