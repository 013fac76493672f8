from workers.supervisor.backoff import FIRST_S, GOOD_AFTER_S, LONGEST_S, Backoff


def test_delays_double_up_to_the_longest():
    backoff = Backoff()
    delays = [backoff.after(0.0) for _ in range(40)]
    assert FIRST_S * 0.75 <= delays[0] <= FIRST_S
    assert all(delay <= LONGEST_S for delay in delays)
    assert delays[-1] >= LONGEST_S * 0.75
    assert delays[5] > delays[0] * 8


def test_a_good_run_starts_over():
    backoff = Backoff()
    for _ in range(10):
        backoff.after(0.0)
    assert backoff.after(GOOD_AFTER_S) <= FIRST_S
