"""The gate of the relationship graph and the policies: each action that is left is put to Cedar over the request's slice.

Purpose codes count.  The free text of an intent is not in here, nor its digest: it cannot help an Allow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cedarpy

from schemas.facts import Agent, Kind, Tool
from schemas.reasons import DenyReason
from streams.facts_keys import key_of
from workers.common.decision.cedar import Policies, PolicyError, entities_of, policies_of, uid
from workers.common.decision.draft import Draft, Said, Stop
from workers.common.decision.slice import Ends, Slice, SliceTooLarge, slice_for
from workers.common.decision.standing import earlier

_TYPES = {"team": "Team", "toolgroup": "ToolGroup"}


class Outcome(NamedTuple):
    """What the policies said, kept with the slice it was said over."""

    over: Slice
    allowed: tuple[str, ...]
    because: tuple[str, ...]
    error: str | None = None


def graph(draft: Draft) -> Said:
    """Numbered: 1. the slice; 2. the policies; 3. what they leave of the actions."""
    # 1. The agents that the person must be letting act: the one that began, the one their token names, and those that acted before.
    asked = draft.input
    before = (sub for _, sub in earlier(asked.acted) if draft.facts.knows_agent(sub))
    delegates = dict.fromkeys((draft.root, *((asked.caller.id,) if asked.user is not None else ()), *before))
    try:
        draft.slice = slice_for(draft.facts, Ends(asked.caller.id, asked.tool, draft.human, tuple(delegates)), asked.now)
    except SliceTooLarge:
        return Stop(DenyReason.POLICY_ERROR, "the graph around this request is larger than its bound")
    # 2.
    policies = policies_of(draft.facts)
    draft.policy_digest = policies.digest
    outcome = _outcome(draft, policies)
    if outcome.error is not None:
        return Stop(DenyReason.POLICY_ERROR, outcome.error)
    # 3.
    draft.actions = outcome.allowed
    if outcome.allowed:
        return f"{_way(draft)}; permitted by {', '.join(outcome.because)}"
    if not draft.slice.agent_rights and not draft.slice.user_rights:
        return Stop(DenyReason.NO_RELATION, "neither agent nor person operates this tool")
    return Stop(DenyReason.POLICY_DENIED, f"forbidden by {', '.join(outcome.because)}" if outcome.because else "no policy permits it")


def _outcome(draft: Draft, policies: Policies) -> Outcome:
    request, caller = draft.input, draft.input.caller
    depth = len(request.parent.act_chain) if request.parent is not None else 0
    key = (
        "policy", caller.id, caller.assurance, caller.attested, request.tool, request.purpose, draft.actions, draft.human,
        draft.root, depth, request.user is not None, draft.supposed_user, *sorted(request.environment.items()),
    )  # fmt: skip
    held: Outcome | None = draft.facts.memo.get(key)
    if held is None or held.over is not draft.slice:
        held = _evaluate(draft, policies, depth)
        draft.facts.memo.put(key, held, (*draft.slice.reads, *_records(draft), Kind.POLICY.value))
    return held


def _records(draft: Draft) -> tuple[str, ...]:
    """The memo tokens of the records that become entities."""
    return (f"{Kind.AGENT.value}/{key_of(draft.agent)}", f"{Kind.TOOL.value}/{draft.tool.name}", Kind.NAMESPACE.value)


def _evaluate(draft: Draft, policies: Policies, depth: int) -> Outcome:
    try:
        answers = policies.ask([_request(draft, action, depth) for action in draft.actions], _entities(draft))
    except PolicyError as error:
        return Outcome(draft.slice, (), (), str(error))
    allowed = tuple(action for action, answer in zip(draft.actions, answers, strict=True) if answer.allowed)
    because = sorted({name for answer in answers if answer.allowed or not allowed for name in answer.because})
    return Outcome(draft.slice, allowed, tuple(because))


def _request(draft: Draft, action: str, depth: int) -> dict[str, Any]:
    asked, cut, supposed = draft.input, draft.slice, draft.supposed_user
    context: dict[str, Any] = {
        "purpose": asked.purpose,
        "actions": list(draft.actions),
        "on_behalf": supposed or draft.human is not None,
        "agent_operates_tool": cut.agent_operates(action),
        "user_operates_tool": supposed or cut.user_operates(action),
        "user_delegates": supposed or cut.user_delegates(action, asked.purpose),
        "assurance": asked.caller.assurance,
        "attested": asked.caller.attested,
        "realm": _realm(draft),
        "depth": depth,
        "environment": sorted(f"{name}={value}" for name, value in asked.environment.items()),
    }
    if draft.human is not None:
        context["user"] = {"__entity": uid("User", draft.human)}
    return {
        "principal": uid("Agent", draft.agent.id),
        "action": uid("Action", action),
        "resource": uid("Tool", draft.tool.name),
        "context": context,
    }


def _realm(draft: Draft) -> str:
    """Third party as soon as the agent's record or a namespace above it says so."""
    realms = {draft.agent.realm, *(space.realm for space in draft.facts.namespaces_above(draft.agent.id))}
    return "third_party" if "third_party" in realms else "first_party"


def _entities(draft: Draft) -> cedarpy.Entities:
    """Agent, tool and person, each with everything above it as a direct parent: `in` needs no more, and no cycle of teams matters."""
    spaces = [uid("Namespace", space.prefix) for space in draft.facts.namespaces_above(draft.agent.id)]
    rows = [
        _entity(uid("Agent", draft.agent.id), _agent_attributes(draft.agent), spaces + _parents(draft.slice.agent_groups), draft.agent),
        _entity(uid("Tool", draft.tool.name), _tool_attributes(draft.tool), _parents(draft.slice.tool_groups)),
    ]
    if draft.human is not None:
        rows.append(_entity(uid("User", draft.human), {}, _parents(draft.slice.user_groups)))
    return entities_of(rows)


def _entity(name: dict[str, str], attrs: dict[str, Any], parents: list[dict[str, str]], agent: Agent | None = None) -> dict[str, Any]:
    return {"uid": name, "attrs": attrs, "parents": parents} | ({} if agent is None else {"tags": _tags(agent)})


def _parents(groups: tuple[str, ...]) -> list[dict[str, str]]:
    split = (group.partition(":") for group in groups)
    return [uid(_TYPES[kind], name) for kind, _, name in split if kind in _TYPES]


def _agent_attributes(agent: Agent) -> dict[str, Any]:
    fields = ("owner", "realm", "version", "deployment", "agent_type")
    return {field: getattr(agent, field) for field in fields}


def _tool_attributes(tool: Tool) -> dict[str, Any]:
    return {"owner": tool.owner, "workload": tool.workload, "resource": tool.resource, "capabilities": list(tool.capabilities)}


def _tags(agent: Agent) -> dict[str, str]:
    """The registry's contexts, as Cedar tags: `principal.getTag("security.data")`."""
    contexts = {"business": agent.business, "financial": agent.financial, "security": agent.security}
    return {f"{name}.{key}": value for name, context in contexts.items() for key, value in context.items()}


def _way(draft: Draft) -> str:
    """The shortest way through the graph; the person stays unnamed."""
    rights = draft.slice.user_rights if draft.human is not None else draft.slice.agent_rights
    if not rights:
        return "no relation"
    head = "person" if draft.human is not None else "agent"
    return " → ".join((head, *rights[0].path[1:]))
