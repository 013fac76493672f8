"""What an agent may call at all: for `Agent.tools()`, which shows nothing else.

A tool is listed when every gate up to the policies would pass for the agent on its own or, where anyone lets it act for them, for a
person with every right.  What a particular person may, and whether evidence is missing, shows only when it asks.
"""

from __future__ import annotations

from weft.digest import sha256

from schemas.decision import Caller, DecisionInput
from schemas.facts import Tool
from schemas.invocation import ToolListed
from streams.facts_table import FactsTable
from workers.common.decision.chain import ceiling, rights
from workers.common.decision.constraints import constraints
from workers.common.decision.draft import Draft, Stop
from workers.common.decision.engine import GATES, ask
from workers.common.decision.patterns import intersect, matches

_NO_REQUEST = sha256("")


def callable_tools(caller: Caller, facts: FactsTable, *, now: int, environment: dict[str, str]) -> tuple[ToolListed, ...]:
    """One line per tool, by name.  Purposes that the records give only as patterns are not listed."""
    agent = facts.agent(caller.id)
    if agent is None or agent.state != "active":
        return ()
    supposed = (False, True) if _has_delegators(agent.id, facts, now) else (False,)
    listed = []
    for tool in facts.tools():
        if tool.state == "active" and matches(agent.charter.tools, tool.name):
            purposes = [purpose for purpose in intersect(tool.purposes, agent.charter.purposes) if "*" not in purpose]
            asked = [_asked(tool, purpose, caller, now, environment) for purpose in purposes]
            listed.append(_listed(tool, asked, facts, supposed))
    return tuple(line for line in listed if line is not None)


def _asked(tool: Tool, purpose: str, caller: Caller, now: int, environment: dict[str, str]) -> DecisionInput:
    return DecisionInput(
        request_id="tools",
        request_digest=_NO_REQUEST,
        tool=tool.name,
        actions=tool.actions,
        purpose=purpose,
        caller=caller,
        environment=environment,
        now=now,
        views_fresh=True,
        revocations=0,
    )


def _has_delegators(agent_id: str, facts: FactsTable, now: int) -> bool:
    return any(edge.live(now) for edge in facts.relations_to(f"agent:{agent_id}", "delegates_to"))


def _listed(tool: Tool, asked: list[DecisionInput], facts: FactsTable, supposed: tuple[bool, ...]) -> ToolListed | None:
    left = {each.purpose: {a for user in supposed for a in _left(Draft(each, facts, supposed_user=user))} for each in asked}
    actions = {action for some in left.values() for action in some}
    if not actions:
        return None
    return ToolListed(
        name=tool.name,
        capabilities=tool.capabilities,
        actions=tuple(action for action in tool.actions if action in actions),
        purposes=tuple(purpose for purpose, some in left.items() if some),
    )


def _left(draft: Draft) -> tuple[str, ...]:
    """The actions that the gates leave, but for those that ask about one particular call."""
    for _, judge in GATES:
        if judge not in (ceiling, rights, constraints) and isinstance(ask(judge, draft), Stop):
            return ()
    return draft.actions
