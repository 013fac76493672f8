"""Which rules answer a signal.  Pure.

Of a policy's rules without a count, the first of the highest confidence that the signal reaches governs; of all policies, the strictest
that the sender may cause.
Rules with a count apply besides, each by itself (windows.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from schemas.facts import ResponsePolicy
from schemas.responses import ANSWERS, ResponseRule
from workers.signals.policy.assess import CONFIDENCES, Signal
from workers.signals.policy.targets import kind_of, within


class Chosen(NamedTuple):
    """A rule, and the policy that it is of."""

    policy: str
    rule: ResponseRule


def applies(rule: ResponseRule, signal: Signal) -> bool:
    """Every condition of the rule holds, its count aside."""
    workload = signal.subject.workload
    return (
        signal.confidence is not None
        and CONFIDENCES.index(rule.confidence) <= CONFIDENCES.index(signal.confidence)
        and _matches(signal.event, rule.events)
        and _matches(signal.iss, rule.transmitters)
        and (not rule.subjects or kind_of(signal.subject) in rule.subjects)
        and (not rule.namespaces or (workload is not None and any(within(workload, space) for space in rule.namespaces)))
    )


def pick(signal: Signal, policies: Sequence[ResponsePolicy]) -> list[Chosen]:
    """Of each policy the rule without a count that governs, if one does; the strictest first."""
    found = [chosen for policy in policies if (chosen := _pick_of(signal, policy)) is not None]
    return sorted(found, key=lambda chosen: -ANSWERS.index(chosen.rule.response))


def counting(policies: Iterable[ResponsePolicy]) -> tuple[Chosen, ...]:
    """Every rule with a count."""
    return tuple(Chosen(policy.name, rule) for policy in policies for rule in policy.rules if rule.count > 1)


def _pick_of(signal: Signal, policy: ResponsePolicy) -> Chosen | None:
    matching = [rule for rule in policy.rules if rule.count == 1 and applies(rule, signal)]
    rule = max(matching, key=lambda rule: CONFIDENCES.index(rule.confidence), default=None)  # max keeps the first of equals
    return None if rule is None else Chosen(policy.name, rule)


def _matches(value: str, patterns: Iterable[str]) -> bool:
    return any(value == p or (p.endswith("*") and value.startswith(p[:-1])) for p in patterns)
