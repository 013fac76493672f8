"""The gate of postures: how far caller, namespaces, person, transaction and everyone who acted before are trusted now.

The strictest wins; the limits of all are met together.  A step-up holds the request until what it asks for is shown, each thing newer
than the signal that asked for it:

* *fresh attestation*: the request carries an SVID that was issued since;
* *approval*: a person let exactly this request pass, since, and still may (workers.common.approvals).  It lifts this gate alone, and what
  it lets pass is one call: bound to method, path and body, and good once, whatever the tool's record asks for;
* *proof of possession*: the signed request names a challenge that the fabric made since, at most as long ago as a request may be old.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from schemas.actors import ActorClaim
from schemas.facts import Approval, Level, Posture
from schemas.invocation import REQUEST_LIFE_S
from schemas.reasons import DenyReason
from schemas.responses import Need
from workers.common.approvals import ask_of, asked_digest, expired, why_not
from workers.common.decision.draft import Draft, Hold, Said, Stop, is_workload
from workers.common.decision.patterns import matches

STRICTNESS: dict[Level, int] = {"normal": 0, "narrowed": 1, "step_up": 2, "quarantined": 3}
ORDER: tuple[Need, ...] = ("fresh_attestation", "approval", "proof_of_possession")  # a new SVID may be another instance; proofs age fastest


def posture(draft: Draft) -> Said:
    """Numbered: 1. what stands; 2. a quarantine ends it; 3. the limits; 4. what has to be shown."""
    found = sorted(_standing(draft), key=lambda p: (-STRICTNESS[p.level], p.scope, p.target))  # 1
    if not found:
        return ""
    strictest = found[0]
    said = f"the {strictest.scope} {_LEVEL[strictest.level]}{because(strictest)}"
    if strictest.level == "quarantined":  # 2
        return Stop(DenyReason.QUARANTINED, said)
    for each in found:  # 3
        draft.narrow(actions=each.actions, purposes=each.purposes, depth=each.depth)
        draft.live(each.max_ttl_s)
    if not draft.actions or not all(matches(patterns, draft.input.purpose) for patterns in draft.limits.purposes):
        return Stop(DenyReason.NARROWED, said)
    return _shown(draft, found, said)  # 4


_LEVEL: dict[Level, str] = {"normal": "is normal", "narrowed": "is narrowed", "step_up": "has to step up", "quarantined": "is quarantined"}


def because(standing: Posture) -> str:
    """The rules of the causes at its level: what an operator looks for first."""
    level = STRICTNESS[standing.level]
    rules = dict.fromkeys(
        f"{cause.policy}/{cause.rule}" if cause.policy else str(cause.rule)
        for cause in standing.causes
        if STRICTNESS[cause.level] == level and cause.rule is not None
    )
    return f" (rule {', '.join(rules)})" if rules else ""


def _standing(draft: Draft) -> Iterator[Posture]:
    caller, parent = draft.input.caller, draft.input.parent
    txn = parent.txn if parent is not None else None
    actors: list[tuple[str | None, str]] = [(actor.instance, actor.sub) for actor in (parent.act_chain if parent is not None else ())]
    actors += earlier(draft.input.acted)
    found = [*draft.facts.postures_for(caller.instance, caller.id, draft.human, txn)]
    for instance, sub in actors:
        found += draft.facts.postures_for(instance, sub, None)
    return (each for each in found if each.level != "normal")


def earlier(acted: ActorClaim | None) -> list[tuple[str | None, str]]:
    """The workloads in a nested `act`, each with its instance, where one is named."""
    return [(actor.instance, actor.sub) for actor in (acted.line() if acted is not None else ()) if is_workload(actor.sub)]


# --- what a step-up asks for --------------------------------------------------------------------------------------------------------


def _shown(draft: Draft, found: Iterable[Posture], said: str) -> Said:
    wanted = needs_of(found)
    notes = [said]
    draft.stepped_up = bool(wanted)
    for need in ORDER:
        if need in wanted:
            answer = _JUDGES[need](draft, wanted[need])
            if not isinstance(answer, str):
                return answer._replace(note=f"{said}; {answer.note}")
            notes.append(answer)
    return "; ".join(notes)


def needs_of(found: Iterable[Posture]) -> dict[Need, int]:
    """Everything that is asked for, each with the moment it must be newer than."""
    wanted: dict[Need, int] = {}
    for each in found:
        if each.level == "step_up":
            for need, since in [(one.needs, one.since) for one in each.step_ups] or [("approval", 0)]:
                wanted[need] = max(since, wanted.get(need, 0))
    return wanted


def _attested(draft: Draft, since: int) -> str | Hold:
    issued = draft.input.caller.svid_iat
    if issued is None or issued <= since:
        return Hold("fresh_attestation", "it needs an SVID that was issued since")
    return "freshly attested"


def _possessed(draft: Draft, since: int) -> str | Hold:
    made = draft.input.challenged_at
    if made is None or made <= since or draft.input.now - made > REQUEST_LIFE_S:
        return Hold("proof_of_possession", "it needs a request that answers a challenge")
    return "it answers a challenge"


def _approved(draft: Draft, since: int) -> str | Hold | Stop:
    """An answer to an older signal is none: whoever gave it did not know of this one."""
    ask = ask_of(draft.input, draft.human)
    if ask is None:
        return Hold("approval", "it needs an approval, and names no call that one could be bound to")
    if draft.tool.revocation != "guard" or draft.tool.obtain is not None:
        return Stop(DenyReason.NARROWED, "an approval lets one call pass, and this tool has no guard that would hold a token to one call")
    now, digest = draft.input.now, asked_digest(ask)
    answered = [a for a in draft.facts.approvals_of(draft.input.caller.id) if a.digest == digest and not expired(a, now)]
    if any(a.state == "denied" and _since(a, since) for a in answered):
        return Stop(DenyReason.APPROVAL_DENIED, "a person was asked, and said no")
    for approval in answered:
        if _given(draft, approval) and _since(approval, since) and _still(draft, approval):
            draft.approval = approval.id
            return f"approved by {approval.by} ({approval.id})"
    return Hold("approval", "it needs an approval")


def _given(draft: Draft, approval: Approval) -> bool:
    """A person gave it, and it was not used; or by this very request, which is answered once however often it is sent."""
    return approval.state == "approved" or (approval.state == "spent" and approval.spent_on == draft.input.request_digest)


def _since(approval: Approval, since: int) -> bool:
    return approval.at is not None and approval.at >= since


def _still(draft: Draft, approval: Approval) -> bool:
    person = draft.facts.person(approval.by) if approval.by is not None else None
    return why_not(person, draft.input.caller.id, draft.human, draft.facts, draft.input.now) is None


_JUDGES = {"fresh_attestation": _attested, "approval": _approved, "proof_of_possession": _possessed}
