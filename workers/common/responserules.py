"""What is wrong with a response policy, in sentences a person can act on.  Pure; the registry asks before it writes one, `weft policy test`
before it tries one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from schemas.facts import ResponsePolicy
from schemas.responses import ResponseRule

NOT_FOR_KEYS = ("narrow", "step_up", "quarantine")  # a key has no posture


def faults(policy: ResponsePolicy, trust_domain: str | None = None) -> Iterator[str]:
    """Nothing: it may be applied.  Without a trust domain it is not asked whether namespaces lie in it."""
    names = [rule.name for rule in policy.rules]
    if not names:
        yield "it holds no rule: delete the fact instead"
    if len(set(names)) != len(names):
        yield "two rules have the same name"
    for rule in policy.rules:
        yield from (f"rule {rule.name}: {text}" for text in _of_rule(rule, trust_domain))
    yield from _unreachable(policy.rules)


def _of_rule(rule: ResponseRule, trust_domain: str | None) -> Iterator[str]:
    yield from _conditions(rule, trust_domain)
    yield from _answer(rule)
    if rule.scope == "namespace" and rule.namespace is None:
        yield "scope namespace needs `namespace`: the prefix that is hit"
    if rule.scope != "namespace" and rule.namespace is not None:
        yield "`namespace` belongs to scope namespace; where the workload lies is a condition, `namespaces`"
    if rule.scope == "key" and rule.response in NOT_FOR_KEYS:
        yield f"a key has no posture to {rule.response}: the strongest answer is revoke"


def _conditions(rule: ResponseRule, trust_domain: str | None) -> Iterator[str]:
    for what, patterns in (("events", rule.events), ("transmitters", rule.transmitters)):
        if not patterns or not all(_is_pattern(pattern) for pattern in patterns):
            yield f"{what}: each is a URI, or a prefix of one ending in '*'"
    for namespace in (*rule.namespaces, *((rule.namespace,) if rule.namespace is not None else ())):
        if trust_domain is not None and not f"{namespace}/".startswith(f"spiffe://{trust_domain}/"):
            yield f"{namespace} is not in this trust domain"
    if (rule.count > 1) != (rule.within_s is not None):
        yield "count and within_s belong together: so many signals within so many seconds, two at least"


def _answer(rule: ResponseRule) -> Iterator[str]:
    limits = (rule.actions, rule.purposes, rule.max_ttl_s, rule.depth)
    if rule.response == "narrow" and all(limit is None for limit in limits):
        yield "narrow needs actions, purposes, max_ttl_s or depth: what is left"
    if rule.response != "narrow" and any(limit is not None for limit in limits):
        yield "actions, purposes, max_ttl_s and depth belong to narrow"
    for what, patterns in (("actions", rule.actions), ("purposes", rule.purposes)):
        if patterns is not None and not all(_is_pattern(pattern) for pattern in patterns):
            yield f"{what}: each is a code, or a prefix of one ending in '*'"
    if rule.needs is not None and rule.response != "step_up":
        yield "needs belongs to step_up"
    if rule.duration_s is not None and rule.response in ("record", "notify", "revoke"):
        yield f"{rule.response} does not last: duration_s belongs to narrow, step_up and quarantine"


def _unreachable(rules: Iterable[ResponseRule]) -> Iterator[str]:
    """Of rules without a count, one that is governed by an earlier one of the same confidence whatever happens is a mistake."""
    plain = [rule for rule in rules if rule.count == 1]
    for position, rule in enumerate(plain):
        for earlier in plain[:position]:
            if earlier.confidence == rule.confidence and _conditions_of(earlier) in (_conditions_of(rule), _ANYTHING):
                yield f"rule {rule.name}: rule {earlier.name} before it, of the same confidence, always applies instead"
                break


_ANYTHING = (("*",), ("*",), (), ())


def _conditions_of(rule: ResponseRule) -> tuple[object, ...]:
    return rule.transmitters, rule.events, rule.subjects, rule.namespaces


def _is_pattern(pattern: str) -> bool:
    return bool(pattern) and "*" not in pattern[:-1] and not any(c.isspace() for c in pattern)
