"""What is true now: the latest message of every subject of FACTS, as a table of what the fabric knows.

A message that cannot be believed counts as its strictest reading: an agent, tool, key or relation does not exist, a namespace bounds
everything away, a posture is a quarantine, a policy is an error (`unreadable`).  `facts_store` keeps the messages and what was computed
from them; each family of facts has its look-ups in a module of its own.
"""

from __future__ import annotations

from streams.facts_agents import AgentFacts
from streams.facts_graph import GraphFacts
from streams.facts_parties import PartyFacts
from streams.facts_postures import PostureFacts
from streams.facts_signals import SignalFacts
from streams.facts_store import Entry, FactChange

__all__ = ["Entry", "FactChange", "FactsTable"]


class FactsTable(AgentFacts, PartyFacts, PostureFacts, SignalFacts, GraphFacts):
    """The facts at one revision."""
