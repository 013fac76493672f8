"""Promises 6 and 7 at the engine's level: the same input over the same facts gives the same bytes, and the unknown denies."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.facts import Kind
from streams.facts_table import FactsTable
from tests.support import decisions as make
from tests.support.facts import message
from workers.common.decision import decide
from workers.common.decision.patterns import covers, intersect, matches

SLOW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@SLOW
@given(st.data())
def test_a_table_rebuilt_from_history_decides_the_same_bytes(data: st.DataObject) -> None:
    """INVARIANT: a live table with a warm memo, one replayed from all messages, and one loaded from the last message of each subject
    decide byte for byte the same (promise 6).

    It would break if the memo outlived an event, or a kept decision the end of what it rests on, if dictionary order leaked into a
    decision, or if a deletion left something behind.
    """
    history = [(*message(fact, deleted=False),) for fact in data.draw(make.worlds())]
    gone = data.draw(st.lists(st.sampled_from(data.draw(make.worlds())), max_size=6))
    back = data.draw(st.lists(st.sampled_from(history), max_size=3))
    history += [message(fact, deleted=True) for fact in gone] + back
    asked = [data.draw(make.requests(None, data.draw(make.users()))) for _ in range(3)]
    live = FactsTable()
    for seq, (subject, body) in enumerate(history, 1):
        live.apply(seq, subject, body)
        decide(asked[seq % 3], live)
    replayed, loaded = FactsTable(), FactsTable()
    last = {subject: seq for seq, (subject, _) in enumerate(history, 1)}
    for seq, (subject, body) in enumerate(history, 1):
        replayed.apply(seq, subject, body)
        if last[subject] == seq:
            loaded.apply(seq, subject, body)
    for later_s in (0, *data.draw(st.lists(st.integers(0, 700), max_size=4))):
        for each in (one.model_copy(update={"now": one.now + later_s}) for one in asked):
            assert decide(each, live).wire() == decide(each, replayed).wire() == decide(each, loaded).wire()
        loaded.at_revision.forget()  # nothing kept: computed anew at each time


@SLOW
@given(st.data())
def test_taking_anything_needed_away_never_allows_more(data: st.DataObject) -> None:
    """INVARIANT: what is unknown denies: over an empty table, a garbled one or a stale view nothing is ever allowed (promise 7).

    It would break if a missing record were read as one without limits.
    """
    table = FactsTable()
    asked = data.draw(make.requests(None, data.draw(make.users())))
    assert not decide(asked, table)
    world = data.draw(make.worlds())
    whole = FactsTable()
    for seq, fact in enumerate(world, 1):
        subject, body = message(fact)
        whole.apply(seq, subject, body)
    if not decide(asked, whole):
        return
    kind = data.draw(st.sampled_from([Kind.AGENT, Kind.TOOL, Kind.NAMESPACE, Kind.POLICY]))
    for seq, fact in enumerate(world, whole.revision + 1):
        if fact["kind"] == kind.value:
            whole.apply(seq, message(fact)[0], data.draw(st.binary(max_size=40)))
    assert not decide(asked, whole)
    assert not decide(asked.model_copy(update={"views_fresh": False}), whole)


CODES = st.text("ab.", min_size=1, max_size=4)
PATTERNS = st.lists(st.text("ab.*", max_size=4) | st.builds(lambda code: code + "*", CODES) | CODES | st.just("*"), max_size=4).map(tuple)


@given(PATTERNS, PATTERNS, CODES)
def test_an_intersection_allows_what_both_allow_and_nothing_else(a: tuple[str, ...], b: tuple[str, ...], code: str) -> None:
    both = intersect(a, b)
    assert matches(both, code) == (matches(a, code) and matches(b, code))
    assert intersect(b, a) == both
    assert intersect(both, a) == both
    assert all(covers(a, pattern) and covers(b, pattern) for pattern in both)


@given(PATTERNS, CODES)
def test_a_code_with_a_star_is_never_matched(patterns: tuple[str, ...], code: str) -> None:
    assert not matches(patterns, code + "*")
    assert not matches(patterns, "*" + code)


@given(PATTERNS, st.text("ab.*", max_size=4), CODES)
def test_a_pattern_is_covered_only_where_all_its_codes_are(patterns: tuple[str, ...], pattern: str, code: str) -> None:
    if covers(patterns, pattern) and matches((pattern,), code):
        assert matches(patterns, code)
