"""What may become of an approval.  Pure: what stands, who asks and `now` come in, the next state or a refusal comes out."""

from __future__ import annotations

from collections.abc import Iterable

from weft.digest import sha256

from schemas.approvals import Ask, Show, Spend
from schemas.commands import Approve
from schemas.facts import MAX_APPROVALS, Approval, Person
from schemas.invocation import REQUEST_LIFE_S, Arguments, CallParts
from schemas.reasons import DenyReason
from schemas.token import SKEW_S
from streams.facts_table import FactsTable
from workers.common.approvals import ASK_LIFE_S, GIVEN_LIFE_S, asked_digest, expired, why_not
from workers.common.rpc import Refused

REPEATED_S = REQUEST_LIFE_S + SKEW_S  # for how long the request that spent it may be sent again


class NotYet(Exception):
    """The view may be behind whoever asks: to be tried again in a moment."""


def decide_ask(ask: Ask, standing: Iterable[Approval], *, now: int, id_: str) -> Approval:
    """The question to write, or the one about the same that stands.  Raises Refused for one too many."""
    standing, digest = tuple(standing), asked_digest(ask)
    live = [approval for approval in standing if not _free(approval, now)]
    for approval in live:
        if approval.digest == digest and approval.state == "pending":
            return approval
    taken = {approval.slot for approval in live}
    slot = next((slot for slot in range(MAX_APPROVALS) if slot not in taken), None)
    if slot is None:
        raise Refused(DenyReason.RATE_LIMITED, f"{MAX_APPROVALS} approvals of this agent wait or were answered just now")
    about = {
        name: getattr(ask, name)
        for name in ("agent", "instance", "user", "tool", "actions", "purpose", "call", "authorization_details", "intent", "explanation")
    }
    return Approval(slot=slot, id=id_, digest=digest, asked_at=now, expires_at=now + ASK_LIFE_S, **about)


def decide_show(show: Show, held: Approval | None) -> Approval:
    """With the arguments that the digests of the call stand for, and no others.  Raises Refused."""
    if held is None or held.state != "pending":
        raise Refused(DenyReason.NOT_FOUND, "no such question stands")
    if not _are(show.arguments, held.call):
        raise Refused(DenyReason.INVALID_CHANGE, "these are not the arguments of the request")
    return held.model_copy(update={"arguments": show.arguments})


def decide_answer(held: Approval | None, person: Person | None, answer: Approve, facts: FactsTable, *, now: int) -> Approval:
    """Given or denied by this person.  Raises Refused; said again by the same person it stays as it is."""
    wanted = "approved" if answer.verdict == "approve" else "denied"
    if held is None:
        raise Refused(DenyReason.NOT_FOUND, "no such approval waits")
    missing = why_not(person, held.agent, held.user, facts, now)
    if missing is not None or person is None:
        raise Refused(DenyReason.NOT_AUTHORIZED, missing or "nobody")
    if (held.state, held.by) == (wanted, person.nkey):
        return held
    if held.state != "pending" or expired(held, now):
        raise Refused(DenyReason.CONFLICT, "it has expired" if held.state == "pending" else f"it is {held.state} already")
    life = GIVEN_LIFE_S if wanted == "approved" else ASK_LIFE_S  # a denial outlasts the agent's patience
    given = {"state": wanted, "by": person.nkey, "at": now, "expires_at": now + life, "reason": answer.reason}
    return held.model_copy(update=given)


def decide_spend(held: Approval | None, spend: Spend, *, now: int) -> Approval:
    """Used by this request; by the same again, it stays as it is.  Raises Refused, or NotYet."""
    if held is None or held.state == "pending":
        raise NotYet
    if held.digest != spend.digest:
        raise Refused(DenyReason.STEP_UP_REQUIRED, "it was given for another request")
    if held.state == "spent":
        if held.spent_on == spend.request:
            return held
        raise Refused(DenyReason.APPROVAL_SPENT, "another request has used it")
    if held.state != "approved" or expired(held, now):
        raise Refused(DenyReason.STEP_UP_REQUIRED, "it is not an approval that holds")
    until = min(held.expires_at, now + REPEATED_S)
    return held.model_copy(update={"state": "spent", "spent_on": spend.request, "expires_at": until})


def _free(approval: Approval, now: int) -> bool:
    """Its slot may be used again."""
    return expired(approval, now)


def _are(arguments: Arguments, call: CallParts) -> bool:
    return (sha256(arguments.path), sha256(arguments.body)) == (call.path, call.body)
