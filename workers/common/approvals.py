"""Approvals: what one is bound to, and who may give it.  Pure; the registry that takes an answer and the decision that relies on it ask
the same questions, so an approver who lost the role in between lets nothing pass.
"""

from __future__ import annotations

from weft.digest import canonical, sha256
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.approvals import Ask
from schemas.decision import DecisionInput
from schemas.facts import Approval, Person
from streams.facts_table import FactsTable
from workers.common.people import parts_of
from workers.common.roles import holds

ASK_LIFE_S = 900  # how long a person may take
GIVEN_LIFE_S = 300  # for the agent to use what they gave


def ask_of(asked: DecisionInput, human: str | None, *, intent: str | None = None, explanation: str = "", caller: str = "") -> Ask | None:
    """What a person would be asked about this request; none where it names no call that an answer could be bound to."""
    if asked.call is None:
        return None
    return Ask(
        agent=asked.caller.id,
        instance=asked.caller.instance,
        user=human,
        tool=asked.tool,
        actions=asked.actions,
        purpose=asked.purpose,
        call=asked.call,
        authorization_details=asked.authorization_details,
        intent=intent,
        explanation=explanation,
        caller=caller,
    )


def asked_digest(ask: Ask) -> str:
    """What an approval is bound to.  Neither the request's id nor its time: an agent asks again once somebody answered.

    NOT in it: the transaction, which does not outlive the minutes a person takes; evidence and parent are judged by their own gates.
    """
    bound = {
        "agent": ask.agent,
        "instance": ask.instance,
        "user": ask.user,
        "tool": ask.tool,
        "actions": sorted(set(ask.actions)),
        "purpose": ask.purpose,
        "call": ask.call.plain(),
        "authorization_details": [detail.plain() for detail in ask.authorization_details or ()],
    }
    return sha256(canonical(bound))


def why_not(person: Person | None, agent: str, user: str | None, facts: FactsTable, now: int) -> str | None:
    """Why this person may not approve a request of this agent, on behalf of this user; none where they may.

    1. An active operator.  2. An approver of a namespace above the agent, by role or by the relation `may_approve`.  3. Not the human on
    whose behalf it is asked; where there is one, the person's record has to say who they are as a user, or nobody could tell.  A namesake
    at another provider counts as the same human: it often is.
    """
    if person is None or person.state != "active":  # 1
        return "you are not an active operator of this fabric"
    if not (holds(person, "approver", agent) or _may_by_relation(person, agent, facts, now)):  # 2
        return "you may not approve for this agent: neither the role approver nor the relation may_approve"
    if user is None:
        return None
    if person.user is None:  # 3
        return "it is asked on behalf of a person, and your own record does not say which user you are"
    if parts_of(user).sub.casefold() in (parts_of(person.user).sub.casefold(), parts_of(person.name).sub.casefold()):
        return "it is asked on your own behalf"
    return None


def expired(approval: Approval, now: float) -> bool:
    """The question, or its answer, is too old."""
    return approval.expires_at <= now


def _may_by_relation(person: Person, agent: str, facts: FactsTable, now: int) -> bool:
    if person.user is None:
        return False
    try:
        above = SpiffeID.parse(agent).prefixes()
    except InvalidSpiffeID:
        return False
    edges = (facts.relation(f"user:{person.user}", "may_approve", f"namespace:{prefix}")[1] for prefix in above)
    return any(edge is not None and edge.live(now) for edge in edges)
