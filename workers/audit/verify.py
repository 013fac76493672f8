"""Computes decisions again: the recorded input over the facts as they were at the recorded revision.  Promise 6.

The facts are rebuilt from FACTS' own history, message by message, never from the view; so whoever altered a decision on record, or the
history of a fact, shows up here.  Does NOT verify signatures: tokens are not on record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from weft.digest import call_digest

from schemas import record
from schemas.decision import Decision, DecisionInput, Gate, Grant
from schemas.record import Denied, Issued
from schemas.token import TokenClaims
from streams.facts_table import FactsTable
from workers.audit.index import Indexed
from workers.common.decision import decide

DECIDED = (record.ISSUED, record.DENIED)
BEFORE = (Gate.LIMITS, Gate.IDENTITY)  # the gateway's own gates, which read no facts
Message = tuple[int, str, bytes]  # sequence, subject, body


class History:
    """FACTS from its first message on, applied as far as the decisions need."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._applied = 0
        self.table = FactsTable()

    def at(self, revision: int) -> FactsTable:
        """The facts at this revision.  Revisions must not go down."""
        while self._applied < len(self._messages) and self._messages[self._applied][0] <= revision:
            self.table.apply(*self._messages[self._applied])
            self._applied += 1
        return self.table


def verify(events: Sequence[Indexed], messages: Sequence[Message]) -> dict[str, Any]:
    """How many decisions were computed again, and those that differ: `seq`, `explanation`, `differs`."""
    history, checked, differ = History(messages), 0, []
    for event in sorted(events, key=_revision):
        differs = _check(event, history)
        checked += differs is not None
        if differs:
            differ.append({"seq": event.seq, "explanation": event.data.get("explanation"), "differs": differs})
    return {"checked": checked, "differ": sorted(differ, key=lambda found: found["seq"])}


def _revision(event: Indexed) -> int:
    decision = event.data.get("decision") or {}
    revision = decision.get("facts_revision", 0)
    return revision if isinstance(revision, int) else 0


def _check(event: Indexed, history: History) -> list[str] | None:
    """What differs; nothing to compute gives none."""
    try:
        recorded = (Issued if event.type == record.ISSUED else Denied).model_validate(event.data, strict=False)
    except ValidationError:
        return ["not a record of its type"]
    if recorded.input is None or recorded.decision is None:
        return None
    again = decide(recorded.input, history.at(recorded.decision.facts_revision))
    differs = _differences(recorded.decision, again)
    if isinstance(recorded, Issued):
        differs += _beyond(recorded.claims, recorded.input, again)
    return differs


def _differences(recorded: Decision, again: Decision) -> list[str]:
    lines = tuple(line for line in recorded.lines if line.gate not in BEFORE)
    comparable = recorded.model_copy(update={"lines": lines})
    return [name for name in Decision.model_fields if getattr(comparable, name) != getattr(again, name)]


def _beyond(claims: TokenClaims, asked: DecisionInput, decision: Decision) -> list[str]:
    """Claims that do not follow from what was asked and granted."""
    grant = decision.grant
    if grant is None:
        return ["claims without a grant"]
    held = {**_granted(claims, grant), **_asked(claims, asked), "facts": claims.facts == decision.facts_revision}
    return [f"claims.{name}" for name, holds in held.items() if not holds]


def _granted(claims: TokenClaims, grant: Grant) -> dict[str, bool]:
    call = claims.call
    return {
        "actions": set(call.actions) <= set(grant.actions),
        "workload": call.workload == grant.workload,
        "resource": call.resource == grant.resource,
        "bound": call.bound == grant.bound,
        "single_use": call.single_use == grant.single_use,
        "sub": claims.sub == grant.sub,
        "scope": claims.scope == claims.purp == grant.purpose,
        "tctx": claims.tctx == grant.ceiling,
        "evidence": claims.evidence == grant.evidence,
        "act.version": (claims.act.version, claims.act.deployment) == (grant.version, grant.deployment),
        "exp": claims.exp - claims.iat <= grant.ttl_s,
    }


def _asked(claims: TokenClaims, asked: DecisionInput) -> dict[str, bool]:
    """Whose token it is, for which call, and what it continues."""
    caller, parent, call = asked.caller, asked.parent, claims.call
    digest = call_digest(asked.call.plain(), call.bound) if call.bound and asked.call is not None else None
    return {
        "tool": call.tool == asked.tool,
        "digest": call.digest == digest,
        "act": (claims.act.sub, claims.act.instance) == (caller.id, caller.instance),
        "cnf": claims.cnf.jkt == caller.jkt,
        "rev": claims.rev == asked.revocations,
        "act_chain": claims.act_chain == (parent.act_chain if parent is not None else ()),
        "txn": parent is None or claims.txn == parent.txn,
        "life": all(claims.exp <= end for end in (caller.svid_exp, *(held.exp for held in (parent, asked.user) if held is not None))),
    }
