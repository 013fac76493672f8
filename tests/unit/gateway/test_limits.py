"""The limits of one caller: a bucket, a cap, and what becomes of one that does not stop."""

from hypothesis import given
from hypothesis import strategies as st

from config.limits import Limits as Allowed
from schemas.reasons import DenyReason
from workers.gateway.limits import STRIKES, SWEEP_S, Limits

A, B = "iaaa.example.agents.a", "ibbb.example.agents.b"


def limits_of(**figures: float) -> Limits:
    return Limits(Allowed(**figures))


def ask(limits: Limits, name: str, now: float, times: int = 1) -> list[DenyReason | None]:
    """Ask and be answered at once, so that nothing stays in flight."""
    answers = []
    for _ in range(times):
        answer = limits.admit(name, now)
        answers.append(answer)
        if answer is None:
            limits.leave(name)
    return answers


def test_a_burst_is_served_and_the_next_is_not():
    limits = limits_of(rate_per_s=10, burst=5, in_flight=64)
    assert ask(limits, A, 0.0, 6) == [None] * 5 + [DenyReason.RATE_LIMITED]


def test_the_bucket_fills_with_time_and_never_above_the_burst():
    limits = limits_of(rate_per_s=10, burst=5, in_flight=64)
    ask(limits, A, 0.0, 5)
    assert ask(limits, A, 0.2, 3) == [None, None, DenyReason.RATE_LIMITED]
    assert ask(limits, A, 1000.0, 6).count(None) == 5


def test_what_is_in_flight_is_capped_and_counted_back():
    limits = limits_of(rate_per_s=1000, burst=1000, in_flight=2)
    assert [limits.admit(A, 0.0) for _ in range(3)] == [None, None, DenyReason.TOO_MANY_IN_FLIGHT]
    limits.leave(A)
    assert limits.admit(A, 0.0) is None


def test_one_caller_does_not_spend_anothers():
    limits = limits_of(rate_per_s=1, burst=5, in_flight=2)
    ask(limits, A, 0.0, 1000)
    limits.admit(A, 0.0)
    assert ask(limits, B, 0.0, 5) == [None] * 5


def test_a_second_of_excess_is_one_line_and_is_told_once():
    limits = limits_of(rate_per_s=1, burst=1, in_flight=1)
    ask(limits, A, 0.0, 8)
    (excess,) = limits.close_second(1.0)
    assert (excess.caller, excess.count, excess.cut) == (A, 7, False)
    assert limits.close_second(2.0) == ()


def test_who_does_not_stop_is_cut_and_who_pauses_is_not():
    limits = limits_of(rate_per_s=10, burst=10, in_flight=64)
    cuts = []
    for second in range(STRIKES):
        ask(limits, A, float(second), 100)
        ask(limits, B, float(second), 100 if second % 2 else 12)
        cuts += [excess.caller for excess in limits.close_second(second + 0.9) if excess.cut]
    assert cuts == [A]


def test_silent_callers_are_forgotten_and_busy_ones_are_not():
    limits = limits_of(rate_per_s=10, burst=10, in_flight=64)
    ask(limits, A, 0.0)
    limits.admit(B, 0.0)
    limits.close_second(SWEEP_S + 1.0)
    assert len(limits) == 1
    limits.leave(B)


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=200))
def test_no_order_of_asking_gives_more_than_burst_and_rate(steps: list[tuple[float, bool]]):
    """INVARIANT: over any time a caller gets at most its burst plus its rate, and never more than its cap at once.

    Broken by a bucket that fills twice for one span, or by `leave` without `admit`.
    """
    limits = limits_of(rate_per_s=5, burst=4, in_flight=3)
    now, admitted, in_flight = 0.0, 0, 0
    for wait, answer_one in steps:
        now += wait
        if answer_one and in_flight:
            limits.leave(A)
            in_flight -= 1
        if limits.admit(A, now) is None:
            admitted += 1
            in_flight += 1
        assert in_flight <= 3
        assert admitted <= 4 + 5 * now + 1e-6
