"""Computes decisions again: the recorded input over the facts as they were at the recorded revision.  Promise 6.

The facts are rebuilt from FACTS' own history, message by message (verification), never from the view; so whoever altered a decision on
record, or the history of a fact, shows up here.  Does NOT verify signatures: tokens are not on record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from weft.digest import call_digest

from schemas import record
from schemas.decision import Decision, DecisionInput, Gate, Grant
from schemas.record import Denied, Exchanged, Issued, NotExchanged
from schemas.token import LEAVES, TokenClaims
from streams.facts_table import FactsTable
from workers.audit.exchanges import verify_exchange, verify_gates
from workers.audit.index import FOREIGN, Indexed
from workers.common import keyperiods
from workers.common.decision import decide

_MODELS: dict[str, type[Issued | Denied | Exchanged | NotExchanged]] = {
    record.ISSUED: Issued,
    record.DENIED: Denied,
    record.EXCHANGED: Exchanged,
    record.NOT_EXCHANGED: NotExchanged,
}
BEFORE = (Gate.LIMITS, Gate.IDENTITY)  # the gateway's own gates, which read no facts


def verify(events: Iterable[Indexed], facts: FactsTable) -> dict[str, Any]:
    """How many decisions were computed again, and those that differ: `seq`, `explanation`, `differs`.

    All of them name one facts revision, and `facts` are the facts as they were at it.
    """
    checked, differ = 0, []
    for event in events:
        differs = _check(event, facts)
        checked += differs is not None
        if differs:
            differ.append({"seq": event.seq, "explanation": event.data.get("explanation"), "differs": differs})
    return {"checked": checked, "differ": differ}


def _check(event: Indexed, facts: FactsTable) -> list[str] | None:
    """What differs; nothing to compute gives none."""
    if event.type == FOREIGN:
        return ["no record of its worker's"]
    try:
        recorded = _MODELS[event.type].model_validate(event.data, strict=False)
    except ValidationError:
        return ["not a record of its type"]
    if recorded.input is None or recorded.decision is None:
        return None
    if isinstance(recorded, Exchanged | NotExchanged):
        return verify_exchange(recorded, facts)
    again = decide(recorded.input, facts)
    differs = _differences(recorded.decision, again)
    if recorded.exchange is not None:
        differs += verify_gates(recorded.exchange.input, recorded.exchange.decision, facts)
    if isinstance(recorded, Issued):
        differs += _beyond(recorded.claims, recorded.input, again)
        differs += [] if _might_sign(recorded, facts) else ["kid"]
    return differs


def _might_sign(recorded: Issued, facts: FactsTable) -> bool:
    """The key was the fabric's, and its time was the token's.  What became of it since, retired or compromised, changes nothing of this."""
    allowed = keyperiods.signing(facts.keys("tokens"), recorded.claims.iat + 1)  # iat is whole seconds
    return any(key.kid == recorded.kid for key in allowed)


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
        "authorization_details": call.authorization_details == grant.authorization_details,
        "aud": (claims.aud == grant.resource) == (grant.audience in LEAVES),
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
        "act.act": claims.act.act == asked.acted,
        "act_chain": claims.act_chain == (parent.act_chain if parent is not None else ()),
        "txn": parent is None or claims.txn == parent.txn,
        "life": all(claims.exp <= end for end in (caller.svid_exp, *(held.exp for held in (parent, asked.user) if held is not None))),
    }
