"""The price of a call in what can be counted: messages, round trips, signatures, bytes."""

from bench.counts import baseline, differing, measure


async def test_a_granted_call_costs_what_the_baseline_says() -> None:
    """INVARIANT: no change makes a call dearer, or cheaper, unnoticed.

    It would break if a worker asked once more, a signature were checked twice, or one no longer at all.  A change that means it writes a
    new baseline: `python -m bench.counts --write`.
    """
    assert differing(await measure(), baseline()) == {}


def test_a_difference_is_seen() -> None:
    held = baseline()
    assert differing(held, held) == {}
    assert differing({**held, "signatures": 1.0}, held) == {"signatures": (1.0, held["signatures"])}
    assert differing({**held, "another": 1.0}, held) == {"another": (1.0, None)}
    assert differing({**held, "record bytes": held["record bytes"] + 1}, held) == {}
    assert differing({**held, "record bytes": held["record bytes"] * 1.1}, held).keys() == {"record bytes"}
    assert differing({}, held).keys() == held.keys()
