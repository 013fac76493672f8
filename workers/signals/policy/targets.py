"""Whom a signal is about, and whom a rule's answer hits: never fewer than the signal names.  Pure.

Where a signal does not name the party that a rule's scope asks for, the next wider one that it names is hit: a rule about instances
answers a signal about an agent by the agent.  A namespace and a key are hit only where they are meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from weft.digest import target_digest
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.facts import TransmitterCeiling
from schemas.responses import ANSWERS, Answer, ResponseRule, RuleScope, SubjectKind
from workers.signals.policy.assess import OWN, Subject

KEY_DERIVED = "k"  # how the id of an instance begins that no issuer attested
POSTURED = ("instance", "agent", "namespace", "user", "transaction")  # scopes that have a posture
_INSTANCE = re.compile(r"[ik][a-z2-7]{26}", re.ASCII)
_WIDER: dict[RuleScope, tuple[RuleScope, ...]] = {
    "transaction": ("transaction", "instance", "agent", "user"),
    "instance": ("instance", "agent", "user"),
    "agent": ("agent", "user"),
    "namespace": ("namespace",),
    "user": ("user",),
    "key": ("key",),
}


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a response hits."""

    scope: RuleScope
    value: str

    @property
    def digest(self) -> str:
        """As posture and entry name it."""
        return target_digest(self.scope, self.value)


@dataclass(frozen=True, slots=True)
class Aim:
    """A target, and what has to be said of it."""

    target: Target
    detail: str | None = None


def kind_of(subject: Subject) -> SubjectKind | None:
    """The narrowest party that the signal names."""
    if subject.key is not None:
        return "key"
    if subject.transaction is not None:
        return "transaction"
    if subject.instance is not None:
        return "instance"
    if subject.workload is not None:
        return "agent"
    return "user" if subject.user is not None else None


def aimed(subject: Subject, rule: ResponseRule) -> Aim | None:
    """Whom this rule's answer hits; none where the signal names nobody that it could."""
    for scope in _WIDER[rule.scope]:
        if scope == "instance" and subject.instance is not None:
            return _instance(subject)  # or nobody: whom an error names is not for us to guess
        value = _named(subject, scope, rule.namespace)
        if value is not None:
            return Aim(Target(scope, value))
    return None


def of_workload(subject: Subject) -> Target | None:
    """The instance where the signal names one, else the agent; nobody where the instance is none that we could know."""
    if subject.instance is not None:
        aim = _instance(subject)
        return aim.target if aim is not None else None
    return Target("agent", subject.workload) if subject.workload is not None else None


def about(subject: Subject) -> tuple[Target, ...]:
    """Every target that a rule could aim at for this signal: what signals are counted by."""
    return tuple(dict.fromkeys(_about(subject)))


def _about(subject: Subject) -> Iterator[Target]:
    instance = _instance(subject) if subject.instance is not None else None
    if instance is not None:
        yield instance.target
    named = {"transaction": subject.transaction, "agent": subject.workload, "user": subject.user, "key": subject.key}
    yield from (Target(scope, value) for scope, value in named.items() if value is not None)  # type: ignore[arg-type]  # each a scope
    yield from (Target("namespace", prefix) for prefix in prefixes(subject.workload or ""))


def _named(subject: Subject, scope: RuleScope, namespace: str | None) -> str | None:
    match scope:
        case "transaction":
            return subject.transaction
        case "agent":
            return subject.workload
        case "namespace":
            inside = namespace is not None and subject.workload is not None and within(subject.workload, namespace)
            return namespace if inside else None
        case "user":
            return subject.user
        case "key":
            return subject.key
        case _:
            return None


def _instance(subject: Subject) -> Aim | None:
    if subject.workload is None or subject.instance is None or not _INSTANCE.fullmatch(subject.instance):
        return None
    if subject.instance.startswith(KEY_DERIVED):
        return Aim(Target("agent", subject.workload), "the instance is not attested: the response falls on the SPIFFE ID")
    return Aim(Target("instance", subject.instance))


# --- how far a word reaches -------------------------------------------------------------------------------------------------------


def place_of(target: Target, subject: Subject, iss: str, trust_domain: str) -> str | None:
    """What a sender's namespaces, and an operator's role, must lie above.

    A person acts everywhere, a key signs for everyone, and whose a transaction is nobody can tell by its id: only the fabric's own guards
    and detections have seen the token.
    """
    match target.scope:
        case "instance" | "agent":
            return subject.workload
        case "namespace":
            return target.value
        case "transaction" if iss in OWN and subject.workload is not None:
            return subject.workload
        case _:
            return f"spiffe://{trust_domain}"


def beyond_ceiling(answer: Answer, place: str | None, ceiling: TransmitterCeiling) -> str | None:
    """Why this is more than the sender's word may cause; none where it is not."""
    if ANSWERS.index(answer) > ANSWERS.index(ceiling.strongest):
        return f"{answer} is stronger than {ceiling.strongest}"
    if place is None or not any(within(place, namespace) for namespace in ceiling.namespaces):
        return "outside the sender's namespaces"
    return None


def within(spiffe_id: str, namespace: str) -> bool:
    """The ID is the namespace, or lies below it."""
    return namespace in prefixes(spiffe_id)


def prefixes(spiffe_id: str) -> tuple[str, ...]:
    """The ID and everything above it; nothing for what is none."""
    try:
        return tuple(str(prefix) for prefix in SpiffeID.parse(spiffe_id).prefixes())
    except InvalidSpiffeID:
        return ()
