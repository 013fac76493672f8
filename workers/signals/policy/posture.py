"""A posture as a function of the set of its causes.  Pure: no clock, no logger, no await.  Design section 5, Confidence.

The order in which signals arrive, and how often, changes nothing: what counts is when each thing happened.

* The strictest cause that is in force decides the level; limits of all causes are met together.
* A *contrary* cause (level `normal`) of a transmitter takes back what the same transmitter said of earlier moments; an operator's
  takes back everything of earlier moments.  It stays, so that what arrives late is taken back too.  Of one moment, the stricter
  word counts.
* What has run out drops, and so does a cause that another one of the same sender covers wholly, for as long as it would count.
"""

from __future__ import annotations

from collections.abc import Iterable

from schemas.facts import Cause, Patterns, Posture, Scope, StepUp, Trigger
from schemas.responses import Need
from schemas.token import MAX_HOPS

OPERATOR = "operator"  # `event` of a person's cause
LEVELS = ("normal", "narrowed", "step_up", "quarantined")
EVERYTHING: Patterns = ("*",)
LONGEST_TTL_S = 300


def rank(level: str) -> int:
    """How strict a level is."""
    return LEVELS.index(level)


def normalise(causes: Iterable[Cause], now: float) -> tuple[Cause, ...]:
    """What of these causes still counts.  `normalise(normalise(a) + b)` is `normalise(a + b)`, whatever the order."""
    unique = _one_per_id(causes)
    lifts = [cause for cause in unique if cause.level == "normal"]
    lifted = max((cause.event_time for cause in lifts if cause.event == OPERATOR), default=-1)
    taken_back = {by: max(c.event_time for c in lifts if c.by == by) for by in {c.by for c in lifts}}
    standing = [
        cause
        for cause in unique
        if cause.level != "normal"
        and cause.event_time >= max(lifted, taken_back.get(cause.by, -1))
        and (cause.until is None or cause.until > now)
    ]
    kept = [*_latest_lifts(lifts, lifted), *(cause for cause in standing if not _covered(cause, standing))]
    return tuple(sorted(kept, key=_order))


def posture_of(
    scope: Scope, target: str, value: str | None, causes: tuple[Cause, ...], *, revoke: bool, trigger: Trigger | None = None
) -> Posture:
    """The posture of normalised causes."""
    return Posture(
        scope=scope,
        target=target,
        value=value,
        level=max((cause.level for cause in causes), key=rank, default="normal"),
        actions=_meet_all(cause.actions for cause in causes),
        purposes=_meet_all(cause.purposes for cause in causes),
        max_ttl_s=min((cause.max_ttl_s for cause in causes if cause.max_ttl_s is not None), default=LONGEST_TTL_S),
        depth=min((cause.depth for cause in causes if cause.depth is not None), default=MAX_HOPS),
        step_ups=_step_ups(causes),
        causes=causes,
        revoke=revoke,
        trigger=trigger,
    )


def _step_ups(causes: Iterable[Cause]) -> tuple[StepUp, ...]:
    """Everything that is asked for, each newer than the last signal that asked for it."""
    since: dict[Need, int] = {}
    for cause in causes:
        if cause.level == "step_up":
            need = cause.needs or "approval"
            since[need] = max(_learned(cause), since.get(need, 0))
    return tuple(StepUp(needs=need, since=at) for need, at in sorted(since.items()))


def _learned(cause: Cause) -> int:
    return cause.event_time if cause.at is None else cause.at


def tightened(before: Posture | None, after: Posture) -> bool:
    """Whether something that was allowed before is not any more: then what was minted before has to go."""
    if before is None:
        return after.level != "normal"
    return (
        rank(after.level) > rank(before.level)
        or not _covers(after.actions, before.actions)
        or not _covers(after.purposes, before.purposes)
        or after.max_ttl_s < before.max_ttl_s
        or after.depth < before.depth
        or any(since > _since(before, need) for need, since in _asked(after).items())
    )


def _asked(posture: Posture) -> dict[str, int]:
    return {step_up.needs: step_up.since for step_up in posture.step_ups}


def _since(posture: Posture, need: str) -> int:
    return _asked(posture).get(need, -1)


def next_expiry(posture: Posture) -> int | None:
    """When the first of its causes runs out."""
    return min((cause.until for cause in posture.causes if cause.until is not None), default=None)


def meet(left: Patterns, right: Patterns) -> Patterns:
    """What both allow; a pattern is an exact code, or a prefix ending in `*`."""
    found = {both for one in left for other in right if (both := _meet_two(one, other)) is not None}
    return tuple(sorted(pattern for pattern in found if not any(other != pattern and _within(pattern, other) for other in found)))


def _meet_all(limits: Iterable[Patterns | None]) -> Patterns:
    result = EVERYTHING
    for patterns in limits:
        if patterns is not None:
            result = meet(result, patterns)
    return result


def _meet_two(one: str, other: str) -> str | None:
    if _within(one, other):
        return one
    return other if _within(other, one) else None


def _within(pattern: str, wider: str) -> bool:
    return pattern == wider or (wider.endswith("*") and pattern.startswith(wider[:-1]))


def _covers(wide: Patterns, narrow: Patterns) -> bool:
    return all(any(_within(pattern, wider) for wider in wide) for pattern in narrow)


def _one_per_id(causes: Iterable[Cause]) -> list[Cause]:
    """One id is one cause.  Should two differ, as when the policy changed between two deliveries, the stricter is kept."""
    found: dict[str, Cause] = {}
    for cause in causes:
        held = found.get(cause.id)
        if held is None or _order(cause) > _order(held):
            found[cause.id] = cause
    return list(found.values())


def _latest_lifts(lifts: list[Cause], lifted: int) -> list[Cause]:
    """One for all operators, and one for each transmitter whose own reaches further."""
    operators = [cause for cause in lifts if cause.event == OPERATOR and cause.event_time == lifted]
    kept = [min(operators, key=_order)] if operators else []
    senders = {cause.by for cause in lifts if cause.event != OPERATOR and cause.event_time > lifted}
    for by in sorted(senders):
        own = [cause for cause in lifts if cause.by == by and cause.event != OPERATOR]
        latest = max(cause.event_time for cause in own)
        kept.append(min((cause for cause in own if cause.event_time == latest), key=_order))
    return kept


def _covered(cause: Cause, others: list[Cause]) -> bool:
    return any(
        _covers_cause(other, cause) and (other.id < cause.id or not _covers_cause(cause, other)) for other in others if other is not cause
    )


def _covers_cause(strong: Cause, weak: Cause) -> bool:
    """As long as `weak` would count, `strong` does, and it says at least as much."""
    lasts = strong.until is None or (weak.until is not None and strong.until >= weak.until)
    if strong.by != weak.by or strong.event_time < weak.event_time or not lasts or rank(strong.level) < rank(weak.level):
        return False
    if strong.level == "quarantined":
        return True
    if weak.level == "step_up" and (strong.needs != weak.needs or _learned(strong) < _learned(weak)):
        return False
    limits = ("actions", "purposes", "max_ttl_s", "depth")
    return all(getattr(weak, limit) in (None, getattr(strong, limit)) for limit in limits)


def _order(cause: Cause) -> tuple[int, int, int, bytes]:
    return (rank(cause.level), cause.event_time, _learned(cause), cause.wire())
