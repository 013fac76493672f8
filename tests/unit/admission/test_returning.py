"""A name that connects in a loop is refused before it is on record; nobody else is."""

from workers.admission.returning import BURST, RATE_PER_S, SWEEP_AT, Returning


def test_a_burst_and_then_a_rate():
    returning = Returning()
    assert sum(returning.allow("a", 0.0) for _ in range(1000)) == BURST
    assert sum(returning.allow("a", 1.0) for _ in range(1000)) == RATE_PER_S
    assert sum(returning.allow("a", 1000.0) for _ in range(1000)) == BURST


def test_nobody_spends_another_s_share():
    """INVARIANT: however often one name connects, every other name is admitted as if it were alone."""
    returning = Returning()
    for _ in range(1000):
        returning.allow("flooder", 0.0)
    assert all(returning.allow(f"other-{n}", 0.0) for n in range(50))


def test_a_clock_that_goes_back_gives_nothing():
    returning = Returning()
    assert sum(returning.allow("a", 100.0) for _ in range(200)) == BURST
    assert not any(returning.allow("a", 50.0) for _ in range(10))


def test_who_is_away_is_forgotten():
    returning = Returning()
    for n in range(SWEEP_AT * 2):
        returning.allow(f"{n}", float(n))
    assert len(returning._names) <= SWEEP_AT + 1
