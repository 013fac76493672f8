"""The first gates but that of postures (standing.py): registered and active, views fresh, namespace bounds, charter.

Each reads the draft, shrinks it, and says why.
"""

from __future__ import annotations

from schemas.reasons import DenyReason
from workers.common.decision.draft import Draft, Said, Stop
from workers.common.decision.patterns import matches


def registered(draft: Draft) -> Said:
    """Agent and tool exist and are active.  A stale view cannot say so; the next gate refuses it."""
    if not draft.input.views_fresh:
        return "not judged: the view is stale"
    agent = draft.facts.agent(draft.input.caller.id)
    tool = draft.facts.tool(draft.input.tool)
    if agent is None:
        return Stop(DenyReason.AGENT_UNKNOWN)
    if agent.state != "active":
        return Stop(DenyReason.AGENT_INACTIVE, agent.state)
    if tool is None:
        return Stop(DenyReason.TOOL_UNKNOWN)
    if tool.state != "active":
        return Stop(DenyReason.TOOL_INACTIVE, tool.state)
    draft.agent, draft.tool = agent, tool
    return ""


def views(draft: Draft) -> Said:
    """Facts and revocations are within their budget."""
    return "" if draft.input.views_fresh else Stop(DenyReason.VIEW_STALE)


def namespace(draft: Draft) -> Said:
    """The bounds of every namespace above the agent."""
    spaces = draft.facts.namespaces_above(draft.agent.id)
    if not spaces:
        return Stop(DenyReason.NAMESPACE_UNKNOWN)
    for space in spaces:
        bounds = space.bounds
        draft.narrow(tools=bounds.tools, purposes=bounds.purposes, actions=bounds.actions, depth=bounds.depth)
        draft.live(bounds.max_ttl_s)
        if not (draft.actions and matches(bounds.tools, draft.tool.name) and matches(bounds.purposes, draft.input.purpose)):
            return Stop(DenyReason.OUT_OF_BOUNDS, space.prefix)
    return ", ".join(space.prefix for space in spaces)


def charter(draft: Draft) -> Said:
    """What the agent is for, and what the tool offers."""
    meant = draft.agent.charter
    draft.narrow(tools=meant.tools, purposes=meant.purposes, depth=meant.depth)
    draft.live(meant.max_ttl_s)
    if not matches(meant.tools, draft.tool.name):
        return Stop(DenyReason.OUT_OF_CHARTER, "the tool")
    for whose, purposes in (("agent", meant.purposes), ("tool", draft.tool.purposes)):
        if not matches(purposes, draft.input.purpose):
            return Stop(DenyReason.PURPOSE_NOT_ALLOWED, f"not a purpose of the {whose}")
    draft.keep(draft.tool.actions)
    if not draft.actions:
        return Stop(DenyReason.ACTION_NOT_OFFERED)
    draft.narrow(actions=meant.actions)
    if not draft.actions:
        return Stop(DenyReason.OUT_OF_CHARTER, "the actions")
    return _delegate(draft)


def _delegate(draft: Draft) -> Said:
    """A tool that is an agent is called only by those who may hand it a step."""
    facts, caller, callee = draft.facts, draft.input.caller.id, draft.tool.workload
    if callee == caller or not facts.knows_agent(callee):
        return ""
    agent = facts.agent(callee)
    if agent is None or agent.state != "active":
        return Stop(DenyReason.TOOL_INACTIVE, "the agent behind it")
    if callee in draft.agent.charter.delegates:
        return f"may delegate to {callee}"
    _, edge = facts.relation(f"agent:{caller}", "may_delegate_to", f"agent:{callee}")
    if edge is None or not edge.live(draft.input.now):
        return Stop(DenyReason.OUT_OF_CHARTER, "it may not delegate to this agent")
    if edge.expires_at is not None:
        draft.same_until = min(draft.same_until, edge.expires_at)
    draft.keep(edge.actions)
    return f"may delegate to {callee}" if draft.actions else Stop(DenyReason.OUT_OF_CHARTER, "it may not delegate these actions")
