"""The last gate: where it runs, how long, and what must have happened before."""

from __future__ import annotations

from schemas.facts import Environment, EvidenceRule
from schemas.reasons import DenyReason
from schemas.token import SKEW_S, Evidence
from workers.common.decision.draft import Draft, Said, Stop

MAX_EVIDENCE = 8  # that a token carries, the newest first


def constraints(draft: Draft) -> Said:
    """Numbered: 1. environment; 2. life; 3. what the token must bind; 4. who acted before; 5. contained; 6. details; 7. evidence."""
    tool, asked = draft.tool, draft.input
    # 1.
    if not (_within(asked.environment, draft.agent.charter.environment) and _within(asked.environment, tool.environment)):
        return Stop(DenyReason.ENVIRONMENT_MISMATCH)
    # 2.
    draft.live(tool.max_ttl_s)
    draft.end(asked.caller.svid_exp)
    if draft.ttl_s <= 0:
        return Stop(DenyReason.SVID_EXPIRED)
    # 3. A token that binds nothing where the record wants a binding would be good for any call.
    if tool.bind and asked.call is None:
        return Stop(DenyReason.MALFORMED, "the tool's record binds the call, and the request names none")
    # 4.
    if not all(_acted(draft, wanted) for wanted in tool.chain):
        return Stop(DenyReason.CHAIN_MISSING)
    # 5.
    if tool.uncontained == "refuse" and draft.facts.uncontained_of(tool.workload):
        return Stop(DenyReason.TOOL_UNCONTAINED, "a point of it has not applied a revocation")
    # 6.
    return _details(draft) or _evidence(draft)


def _evidence(draft: Draft) -> Said:
    # 7. At the gateway nothing was read yet; the broker asks again.
    tool, asked = draft.tool, draft.input
    if not asked.evidence_read and asked.evidence_wanted:
        return f"{draft.ttl_s} s; the evidence is the broker's to read"
    shown = all(_shown(draft, rule) for rule in tool.evidence)
    return f"{draft.ttl_s} s" if shown else Stop(DenyReason.EVIDENCE_MISSING)


def _details(draft: Draft) -> Stop | None:
    """RFC 9396 section 5: each of a type that tool, charter and transaction know, for actions and places of this very call."""
    parent = draft.input.parent
    begun = None if parent is None else {detail.get("type") for detail in parent.ceiling.authorization_details}
    types = set(draft.tool.authorization_details) & set(draft.agent.charter.authorization_details)
    for detail in draft.input.authorization_details or ():
        if detail.type not in types or (begun is not None and detail.type not in begun):
            return Stop(DenyReason.DETAILS_NOT_ALLOWED, "a type that tool, charter or transaction does not name")
        if not set(detail.actions) <= set(draft.actions) or not set(detail.locations) <= {draft.tool.resource}:
            return Stop(DenyReason.DETAILS_NOT_ALLOWED, "actions or locations beyond this call")
    return None


def evidence_of(draft: Draft) -> tuple[Evidence, ...]:
    """What this request and its parent bring, each once, the newest within the bound."""
    parent = draft.input.parent
    brought = (*(parent.evidence if parent is not None else ()), *draft.input.evidence)
    newest = sorted({each.seq: each for each in brought}.values(), key=lambda each: each.seq)[-MAX_EVIDENCE:]
    return tuple(newest)


def _shown(draft: Draft, rule: EvidenceRule) -> bool:
    """The step was reported in time.  That it handled the same object, the guard sees: it alone has the body."""
    now = draft.input.now
    return any(each.tool == rule.tool and now - rule.max_age_s <= each.at <= now + SKEW_S for each in evidence_of(draft))


def _within(environment: Environment, wanted: Environment) -> bool:
    return all(environment.get(name) == value for name, value in wanted.items())


def _acted(draft: Draft, wanted: str) -> bool:
    """An agent, or someone below a namespace, acted before."""
    chain = draft.input.parent.act_chain if draft.input.parent is not None else ()
    return any(actor.sub == wanted or actor.sub.startswith(f"{wanted}/") for actor in chain)
