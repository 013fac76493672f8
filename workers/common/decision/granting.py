"""From a draft that passed every gate to what it grants."""

from __future__ import annotations

import re
from typing import Any, Literal

from schemas.decision import Grant
from schemas.token import MAX_HOPS, Ceiling
from workers.common.decision.constraints import evidence_of
from workers.common.decision.draft import Draft
from workers.common.decision.patterns import Patterns, intersect

EVERYTHING: tuple[Literal["method", "path", "body"], ...] = ("method", "path", "body")
_CODE = re.compile(r"[a-z*][a-z0-9._:*-]{0,63}")  # schemas.base.Code; a pattern outside it can match no code


def grant_of(draft: Draft) -> Grant:
    """The grant."""
    tool, agent, approved = draft.tool, draft.agent, draft.approval is not None
    return Grant(
        actions=draft.actions,
        purpose=draft.input.purpose,
        ttl_s=draft.ttl_s,
        ceiling=ceiling_of(draft),
        workload=tool.workload,
        endpoint=tool.endpoint,
        resource=tool.resource,
        audience=tool.token_form,
        bound=EVERYTHING if approved else tool.bind,  # a person let this one call pass, and no other
        single_use=approved or tool.single_use,
        proof=tool.proof,
        revocation=None if tool.revocation == "guard" else tool.revocation,
        authorization_details=draft.input.authorization_details,
        status_list=tool.status_list,
        approval=draft.approval,
        evidence=evidence_of(draft),
        sub=draft.sub,
        agentic_ctx=_agentic_context(draft),
        version=agent.version,
        deployment=agent.deployment,
    )


def ceiling_of(draft: Draft) -> Ceiling:
    """What may follow: every limit met on the way here, a parent's ceiling among them.

    So no leaf of a tree of delegations holds more than the intersection along its path, and a weak agent in the middle gains
    nothing from a strong one after it.
    """
    limits, parent = draft.limits, draft.input.parent
    chain = len(parent.act_chain) if parent is not None else 0
    return Ceiling(
        purposes=_codes(intersect(*limits.purposes)),
        tools=intersect(*limits.tools),
        actions=_codes(intersect(*limits.actions)),
        authorization_details=_details(draft),
        depth=max(0, min(limits.depth, MAX_HOPS - chain)),
    )


def _details(draft: Draft) -> tuple[dict[str, Any], ...]:
    """RFC 9396 types of the charter at the root; of those, what the agent's charter names as well, further down."""
    types = draft.agent.charter.authorization_details
    if draft.input.parent is None:
        return tuple({"type": name} for name in types)
    return tuple(detail for detail in draft.input.parent.ceiling.authorization_details if detail.get("type") in types)


def _codes(patterns: Patterns) -> Patterns:
    return tuple(pattern for pattern in patterns if _CODE.fullmatch(pattern))


def _agentic_context(draft: Draft) -> dict[str, Any]:
    """As in the essay.  The intent's text is the broker's to add, inside the trust domain alone."""
    return {
        "agent_type": draft.agent.agent_type,
        "agent_version": draft.agent.version,
        "allowed_actions": list(draft.actions),
        "environment_constraints": {**draft.agent.charter.environment, **draft.tool.environment},
    }
