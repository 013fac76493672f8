"""What is done about a signal.  Pure: the signal, the facts about its sender and the response policies come in, a response goes out.

1. A sender whose word is worth nothing about this event is recorded.
2. A contrary signal takes back what its own sender caused, where there is a policy that can be read.
3. Of every policy, the first rule of the highest confidence that the signal reaches; of all policies, the strictest.
4. Whom the rule hits: never fewer than the signal names, and an instance only where the issuer could tell instances apart.
5. The sender's ceiling: namespaces, the strongest response.  Beyond it nothing is done, and the record says that it waits for an operator.

No rule, no policy, or one that cannot be read loosens nothing.  How many subjects a minute is `Pace`, whether the instance is the
workload's is the caller's to ask (`Act.instance`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from weft.digest import target_digest
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.facts import Cause, Level, ResponsePolicy, ResponseRule, Scope, Transmitter, TransmitterCeiling
from workers.signals.assess import CONFIDENCES, Signal, Subject

Answer = Literal["record", "narrow", "step_up", "quarantine"]
ANSWERS: tuple[Answer, ...] = ("record", "narrow", "step_up", "quarantine")
_LEVEL: dict[Answer, Level] = {"record": "normal", "narrow": "narrowed", "step_up": "step_up", "quarantine": "quarantined"}
_INSTANCE = re.compile(r"[ik][a-z2-7]{26}", re.ASCII)
KEY_DERIVED = "k"  # how the id of an instance begins that no issuer attested


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a response hits."""

    scope: Scope
    value: str

    @property
    def digest(self) -> str:
        """As posture and entry name it."""
        return target_digest(self.scope, self.value)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Nothing is done.  `waiting`: it is for an operator to do more."""

    detail: str
    rule: str | None = None
    waiting: bool = False
    answer: Answer = "record"  # what the rule asked for


@dataclass(frozen=True, slots=True)
class Act:
    """A cause is added to the posture of the target."""

    target: Target
    cause: Cause
    answer: Answer
    rule: str
    subject: Subject
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class TakeBack:
    """A contrary cause is added to the postures of these targets, where they have causes of this sender."""

    targets: tuple[Target, ...]
    cause: Cause


Response = Recorded | Act | TakeBack


def respond(
    signal: Signal, transmitter: Transmitter, policies: Sequence[ResponsePolicy], *, unreadable: bool, trust_domain: str
) -> Response:
    """`unreadable`: a response policy exists that cannot be read."""
    if signal.confidence is None:
        return Recorded("the sender is not trusted about this event")  # 1
    if signal.contrary:
        if unreadable or not policies:
            return Recorded("without a policy that can be read nothing is taken back", waiting=True)
        return _take_back(signal, transmitter.ceiling, trust_domain)  # 2
    rule = pick(signal, policies)  # 3
    if rule is None:
        return Recorded("a policy cannot be read" if unreadable else "no rule matches", waiting=unreadable)
    if rule.response == "record":
        return Recorded("as the rule says", rule.name)
    return _act(signal, rule, transmitter.ceiling, trust_domain)


def _take_back(signal: Signal, ceiling: TransmitterCeiling, trust_domain: str) -> Response:
    """About an instance, what was said of that instance; about an agent as such, what was said of the agent."""
    named = [*_targets(signal.subject, ("instance", "agent"))[:1], *_targets(signal.subject, ("user",))]
    within_reach = [target for target, _ in named if beyond_ceiling("record", target, signal.subject, ceiling, trust_domain) is None]
    if not within_reach:
        return Recorded("the signal names nobody within the sender's namespaces")
    return TakeBack(tuple(within_reach), _cause(signal, "normal", None))


def _act(signal: Signal, rule: ResponseRule, ceiling: TransmitterCeiling, trust_domain: str) -> Response:
    aimed = _targets(signal.subject, _SCOPES[rule.scope])[:1]  # 4
    if not aimed:
        return Recorded(f"the signal names no {rule.scope}", rule.name, waiting=True, answer=rule.response)
    target, detail = aimed[0]
    beyond = beyond_ceiling(rule.response, target, signal.subject, ceiling, trust_domain)  # 5
    if beyond is not None:
        return Recorded(beyond, rule.name, waiting=True, answer=rule.response)
    return Act(target, _cause(signal, _LEVEL[rule.response], rule), rule.response, rule.name, signal.subject, detail)


def pick(signal: Signal, policies: Sequence[ResponsePolicy]) -> ResponseRule | None:
    """The rule that governs, or none."""
    found = [rule for policy in policies if (rule := _pick_of(signal, policy)) is not None]
    return max(found, key=lambda rule: ANSWERS.index(rule.response), default=None)


def _pick_of(signal: Signal, policy: ResponsePolicy) -> ResponseRule | None:
    reached = CONFIDENCES.index(signal.confidence or "low")
    matching = [r for r in policy.rules if CONFIDENCES.index(r.confidence) <= reached and any(_matches(signal.event, p) for p in r.events)]
    return max(matching, key=lambda rule: CONFIDENCES.index(rule.confidence), default=None)  # max keeps the first of equals


def _matches(event: str, pattern: str) -> bool:
    return event == pattern or (pattern.endswith("*") and event.startswith(pattern[:-1]))


_SCOPES: dict[str, tuple[Scope, ...]] = {"instance": ("instance", "agent", "user"), "agent": ("agent", "user"), "user": ("user",)}


def _targets(subject: Subject, scopes: Sequence[Scope]) -> list[tuple[Target, str | None]]:
    """The targets that the signal names, in this order, each with what has to be said of it."""
    found: list[tuple[Target, str | None]] = []
    for scope in scopes:
        if scope == "instance" and subject.instance is not None:
            if subject.workload is None or not _INSTANCE.fullmatch(subject.instance):
                return []  # whom an error names is not for us to guess: the whole agent is more than was said
            if subject.instance.startswith(KEY_DERIVED):
                found.append((Target("agent", subject.workload), "the instance is not attested: the response falls on the SPIFFE ID"))
            else:
                found.append((Target("instance", subject.instance), None))
        elif scope == "agent" and subject.workload is not None:
            found.append((Target("agent", subject.workload), None))
        elif scope == "user" and subject.user is not None:
            found.append((Target("user", subject.user), None))
    return found


def beyond_ceiling(answer: Answer, target: Target, subject: Subject, ceiling: TransmitterCeiling, trust_domain: str) -> str | None:
    """Why this is more than the sender's word may cause; none where it is not."""
    if ANSWERS.index(answer) > ANSWERS.index(ceiling.strongest):
        return f"{answer} is stronger than {ceiling.strongest}"
    place = f"spiffe://{trust_domain}" if target.scope == "user" else subject.workload  # a person acts everywhere
    if place is None or not any(within(place, namespace) for namespace in ceiling.namespaces):
        return "outside the sender's namespaces"
    return None


def within(spiffe_id: str, namespace: str) -> bool:
    """The ID is the namespace, or lies below it."""
    try:
        return namespace in {str(prefix) for prefix in SpiffeID.parse(spiffe_id).prefixes()}
    except InvalidSpiffeID:
        return False


def _cause(signal: Signal, level: Level, rule: ResponseRule | None) -> Cause:
    narrowing = rule if rule is not None and level == "narrowed" else None
    return Cause(
        id=signal.id,
        by=signal.iss,
        level=level,
        event_time=signal.event_time,
        event=signal.event,
        rule=rule.name if rule is not None else None,
        actions=narrowing.actions if narrowing is not None else None,
        purposes=narrowing.purposes if narrowing is not None else None,
        max_ttl_s=narrowing.max_ttl_s if narrowing is not None else None,
        until=signal.iat + rule.duration_s if rule is not None and rule.duration_s is not None else None,
    )


class Pace:
    """How many different subjects a sender's word has hit within a minute, by the time SIGNALS gave each SET."""

    WINDOW_S = 60.0

    def __init__(self) -> None:
        self._hits: dict[str, deque[tuple[float, Target]]] = {}

    def allows(self, iss: str, target: Target, at: float, most: int) -> bool:
        """Counts the target unless it is beyond the ceiling.  Asking again about the same one changes nothing."""
        hits = self._hits.setdefault(iss, deque())
        while hits and hits[0][0] < at - self.WINDOW_S:
            hits.popleft()
        recent = {hit for _, hit in hits}
        if target not in recent:
            if len(recent) >= most:
                return False
            hits.append((at, target))
        return True
