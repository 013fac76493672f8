"""Whether somebody still is who may be connected.  Pure; asked before a connection comes in, and of each one that is, to cut it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.facts import Agent, Kind, Person, Posture
from schemas.reasons import DenyReason
from streams.facts_table import FactsTable
from streams.subjects import parse_connection_name


class Facts(Protocol):
    """What of the facts is read."""

    def agent(self, spiffe_id: str) -> Agent | None:
        """One agent, whatever its state."""

    def tool_states(self, workload: str) -> frozenset[str]:
        """The states of all tools with this workload."""

    def person(self, nkey: str) -> Person | None:
        """One operator, whatever their state."""

    def postures_for(self, instance: str | None, agent_id: str | None, user: str | None) -> Iterable[Posture]:
        """The postures of an instance, an agent and every namespace above it."""


class TableFacts:
    """The facts table, with its tools by workload; that index follows the tools' version."""

    def __init__(self, table: FactsTable) -> None:
        self._table = table
        self._version = -1
        self._states: dict[str, set[str]] = {}
        self.agent = table.agent
        self.person = table.person
        self.postures_for = table.postures_for

    def tool_states(self, workload: str) -> frozenset[str]:
        """See Facts."""
        version = self._table.version(Kind.TOOL)
        if version != self._version:
            self._version, self._states = version, {}
            for tool in self._table.tools():
                self._states.setdefault(tool.workload, set()).add(tool.state)
        return frozenset(self._states.get(workload, ()))


@dataclass(frozen=True, slots=True)
class Lost:
    """Why somebody may not, or no longer, be connected."""

    reason: DenyReason
    detail: str


def lost_agent(instance: str, workload: SpiffeID, facts: Facts) -> Lost | None:
    """An agent is registered, active and not quarantined."""
    agent = facts.agent(str(workload))
    if agent is None:
        return Lost(DenyReason.AGENT_UNKNOWN, "no agent is registered under this ID")
    if agent.state != "active":
        return Lost(DenyReason.AGENT_INACTIVE, f"the agent is {agent.state}")
    return _quarantine(instance, workload, facts)


def lost_point(instance: str, workload: SpiffeID, facts: Facts) -> Lost | None:
    """An enforcement point is the workload of an active tool and not quarantined."""
    states = facts.tool_states(str(workload))
    if not states:
        return Lost(DenyReason.TOOL_UNKNOWN, "no tool is registered with this workload")
    if "active" not in states:
        return Lost(DenyReason.TOOL_INACTIVE, "no tool of this workload is active")
    return _quarantine(instance, workload, facts)


def lost_operator(nkey: str, facts: Facts) -> Lost | None:
    """A person is known and active."""
    person = facts.person(nkey)
    if person is None or person.state != "active":
        return Lost(DenyReason.NOT_AUTHORIZED, "no active person has this key")
    return None


def lost_connection(account: str, name: str, facts: Facts) -> Lost | None:
    """The same of a connection that is there, by its account and its attested name.  What has no readable name has no standing."""
    if account == "OPERATORS":
        return lost_operator(name, facts)
    try:
        instance, workload = parse_connection_name(name)
    except InvalidSpiffeID:
        return Lost(DenyReason.CALLER_UNKNOWN, "the connection's name is none that admission gives")
    return (lost_agent if account == "AGENTS" else lost_point)(instance, workload, facts)


def _quarantine(instance: str, workload: SpiffeID, facts: Facts) -> Lost | None:
    for posture in facts.postures_for(instance, str(workload), None):
        if posture.level == "quarantined":
            return Lost(DenyReason.QUARANTINED, f"the {posture.scope} is quarantined")
    return None
