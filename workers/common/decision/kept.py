"""Decisions that are kept: the same question, over the same facts, within the span of time in which its answer does not change.

Kept are grants that begin a transaction, show no evidence and had nothing to step up to; a parent, a report or an approval makes a request
one of its kind.  What is kept is
forgotten with the next event of FACTS, whatever that is about, so that nothing has to know what a decision read.  The span ends before
a relation that counted expires, or the caller's SVID or the person's token would shorten the token's life.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from schemas.decision import Decision, DecisionInput
from workers.common.decision.draft import Draft

UNREAD = frozenset(("request_id", "request_digest", "intent", "revocations"))  # by every gate


class Kept(NamedTuple):
    """A decision that holds for `since <= now < until`."""

    decision: Decision
    since: int
    until: int


def question(asked: DecisionInput) -> Hashable | None:
    """All of a request that its decision depends on, but the time; none for a request whose decision is not kept."""
    if asked.parent is not None or asked.evidence or asked.evidence_wanted:
        return None
    return (
        asked.caller,
        asked.tool,
        asked.actions,
        asked.purpose,
        asked.call is None,
        asked.ttl_s,
        asked.authorization_details,
        asked.user,
        asked.evidence_read,
        asked.challenged_at,
        asked.views_fresh,
        *sorted(asked.environment.items()),
    )


def kept_for(grant: Decision, draft: Draft) -> Kept | None:
    """What may be kept of a decision that grants, and how long it would be the same."""
    if draft.stepped_up:  # what was shown was shown for one request
        return None
    since, until = draft.steady()
    return Kept(grant, since, until) if since < until else None
