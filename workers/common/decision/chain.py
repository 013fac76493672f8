"""The gates of a transaction: the parent's ceiling, and the rights of the person it is done for."""

from __future__ import annotations

from schemas.decision import Parent, UserRights
from schemas.reasons import DenyReason
from schemas.token import MAX_HOPS
from workers.common.decision.draft import Draft, Said, Stop, is_workload
from workers.common.decision.patterns import matches
from workers.common.decision.slice import Consent


def ceiling(draft: Draft) -> Said:
    """A child's call lies within its parent's ceiling, and it outlives no parent."""
    parent = draft.input.parent
    if parent is None:
        return "begins a transaction"
    refused = _continues(draft, parent)
    if refused is not None:
        return refused
    draft.end(parent.exp)
    draft.narrow(tools=parent.ceiling.tools, purposes=parent.ceiling.purposes, actions=parent.ceiling.actions, depth=_depth(parent))
    within = {
        "the tool": matches(parent.ceiling.tools, draft.tool.name),
        "the purpose": matches(parent.ceiling.purposes, draft.input.purpose),
        "the actions": bool(draft.actions),
    }
    outside = [name for name, inside in within.items() if not inside]
    return Stop(DenyReason.OUT_OF_CEILING, ", ".join(outside)) if outside else f"{parent.how}, {len(parent.act_chain)} acted before"


def _continues(draft: Draft, parent: Parent) -> Stop | None:
    """May this transaction be continued at all, by this caller, for this person?"""
    user = draft.input.user
    if parent.exp <= draft.input.now:
        return Stop(DenyReason.PARENT_EXPIRED)
    if user is not None and user.sub != parent.sub:
        return Stop(DenyReason.PARENT_INVALID, "the user token names someone else than the transaction")
    if len(parent.act_chain) > MAX_HOPS or (parent.how == "child" and parent.ceiling.depth < 1):
        return Stop(DenyReason.CHAIN_TOO_DEEP)
    return None


def _depth(parent: Parent) -> int:
    """Hops that may still follow: one fewer with each hop."""
    return parent.ceiling.depth - 1 if parent.how == "child" else parent.ceiling.depth


def rights(draft: Draft) -> Said:
    """RFC 8693 delegation: what the person may do, lets the agent do (`delegates_to`), and put into the token; never the person's own.

    In a chain without their token the first two still hold.
    """
    if draft.human is None:
        return "nobody's behalf"
    user = draft.input.user
    if user is not None and (is_workload(user.sub) or user.exp <= draft.input.now):
        return Stop(DenyReason.USER_TOKEN_INVALID)
    if not draft.slice.user_known:
        return Stop(DenyReason.USER_LACKS_RIGHT, "unknown person")
    if draft.slice.consents is None:
        return Stop(DenyReason.USER_NOT_DELEGATING)
    refused = _consented(draft, draft.slice.consents)
    if refused is not None:
        return refused
    draft.actions = tuple(action for action in draft.actions if draft.slice.user_operates(action))
    if user is not None:
        draft.end(user.exp)
        _scope(draft, user)
    return "the person holds these rights" if draft.actions else Stop(DenyReason.USER_LACKS_RIGHT)


def _consented(draft: Draft, consents: tuple[Consent, ...]) -> Stop | None:
    """Every consent bounds this call and whatever follows; no token outlives one."""
    for consent in consents:
        draft.narrow(actions=consent.actions, purposes=consent.purposes)
        if consent.expires_at is not None:
            draft.end(consent.expires_at)
    if not draft.actions:
        return Stop(DenyReason.USER_NOT_DELEGATING, "not these actions")
    if not all(matches(consent.purposes, draft.input.purpose) for consent in consents):
        return Stop(DenyReason.USER_NOT_DELEGATING, "not for this purpose")
    return None


def _scope(draft: Draft, user: UserRights) -> None:
    """A scope holds purposes, or actions.  What follows in the transaction is bounded by the kind that counted here."""
    codes = tuple(code for code in user.scope if "*" not in code)
    if matches(codes, draft.input.purpose):
        draft.narrow(purposes=codes)
    else:
        draft.narrow(actions=codes)
