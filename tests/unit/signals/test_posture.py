"""Postures by example; the laws are in tests/property/test_posture.py."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.facts import Cause, Patterns
from workers.signals.policy.posture import OPERATOR, meet, next_expiry, normalise, posture_of

A, B, PERSON = "https://a.example", "https://b.example", "UPERSON"
NOW = 100


def cause(id_: str, level: str, at: int, by: str = A, **more: Any) -> Cause:
    event = OPERATOR if by == PERSON else "https://events.example/risk"
    return Cause(id=id_, by=by, level=level, event_time=at, event=event, **more)  # type: ignore[arg-type]


def level(*causes: Cause, now: int = NOW) -> str:
    return posture_of("agent", "T" * 22, None, normalise(causes, now), revoke=False).level


def test_nothing_is_normal() -> None:
    assert level() == "normal"


@pytest.mark.parametrize(("by", "after"), [(A, "normal"), (B, "quarantined"), (PERSON, "normal")])
def test_who_may_take_back_what(by: str, after: str) -> None:
    assert level(cause("1", "quarantined", 5), cause("2", "normal", 6, by)) == after


def test_of_one_moment_the_stricter_word_counts() -> None:
    assert level(cause("1", "quarantined", 5), cause("2", "normal", 5)) == "quarantined"


def test_a_cause_never_hides_that_of_another_sender() -> None:
    """INVARIANT: when one sender takes its word back, what another one said all along still stands.

    Broken by dropping the weaker of two causes whoever sent them: lifting the stronger would then lift both.
    """
    both = normalise([cause("1", "quarantined", 5, A), cause("2", "quarantined", 3, B)], NOW)
    assert level(*both, cause("3", "normal", 6, A)) == "quarantined"


def test_a_cause_that_lasts_longer_is_not_dropped_for_a_stricter_one_that_does_not() -> None:
    held = normalise([cause("1", "quarantined", 5, until=150), cause("2", "step_up", 5)], NOW)
    assert level(*held, now=149) == "quarantined"
    assert level(*held, now=150) == "step_up"


def test_repeated_signals_of_one_sender_do_not_pile_up() -> None:
    held: tuple[Cause, ...] = ()
    for n in range(50):
        held = normalise([*held, cause(str(n), "narrowed", n, until=1000 + n, actions=("read",))], NOW)
    assert [c.id for c in held] == ["49"]


def test_the_next_expiry_is_the_first_to_run_out() -> None:
    held = normalise(
        [cause("1", "quarantined", 5, until=150), cause("2", "step_up", 5, B, until=120), cause("3", "narrowed", 5, PERSON)], NOW
    )
    posture = posture_of("agent", "T" * 22, None, held, revoke=False)
    assert next_expiry(posture) == 120
    assert next_expiry(posture_of("agent", "T" * 22, None, (), revoke=False)) is None


@pytest.mark.parametrize(
    ("left", "right", "both"),
    [
        (("*",), ("read",), ("read",)),
        (("read", "write"), ("write", "pay"), ("write",)),
        (("read.*",), ("read.a", "write.a"), ("read.a",)),
        (("read.*",), ("read.a.*",), ("read.a.*",)),
        (("read",), ("write",), ()),
        ((), ("*",), ()),
        (("re*", "read"), ("re*",), ("re*",)),
    ],
)
def test_limits_meet(left: Patterns, right: Patterns, both: Patterns) -> None:
    assert meet(left, right) == meet(right, left) == both
