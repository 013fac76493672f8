"""Detections as tables: what was seen, in order, and what is found.  `t` is seconds; every call is of one agent unless it says so."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.detections import DetectionRule
from workers.signals.watch.detect import ISSUED_S, LATE_S, MAX_GROUPS, Detector, Issued
from workers.signals.watch.seen import Seen

ADVISOR, SEARCH = "spiffe://88mph.com/agents/advisor", "spiffe://88mph.com/agents/search"
POINT = f"i{'c4' * 13}.88mph~com.tools.payments"
T0 = 1_800_000_000.0
_seqs = itertools.count(1)


def rule(when, **more):
    return DetectionRule.model_validate_json(__import__("json").dumps({"name": "r", "when": when, **more}))


def call(t, tool="search", *, kind="granted", agent=ADVISOR, instance="i1", **more):
    said = {"actions": ("read",), "txn": "x1", "jti": f"j{t}", **more}
    return Seen(kind, next(_seqs), T0 + t, agent=agent, instance=instance, tool=tool, **said)


def refusal(t, reason="out_of_charter", **more):
    return Seen("refused", next(_seqs), T0 + t, agent=ADVISOR, instance="i1", reason=reason, **more)


def used(t, jti="j0", *, kind="rejected", reason="wrong_tool", **more):
    said = {"txn": "x1", "said_at": T0 + t, **more}
    return Seen(kind, next(_seqs), T0 + t, agent=ADVISOR, instance="i1", tool="payments", jti=jti, reason=reason, point=POINT, **said)


def found(made, *seen, since=0.0):
    """The times at which it finds something, each finding once."""
    issued = Issued(since)
    detector, once, times = Detector(made, issued), set(), []
    for event in seen:
        issued.note(event)
        finding = detector.observe(event)
        if finding is not None and finding.once not in once:
            once.add(finding.once)
            times.append(event.at - T0)
    return times


ORDER = {"of": "sequence", "steps": [{"tools": ["vault-*"], "actions": ["read"]}, {"tools": ["mail"], "actions": ["send"]}]}


@pytest.mark.parametrize(
    ("seen", "times"),
    [
        ([call(0, "vault-a"), call(1), call(2, "mail", actions=("send",))], [2]),
        ([call(0, "mail", actions=("send",)), call(1, "vault-a")], []),
        ([call(0, "vault-a"), call(1, "mail", actions=("read",))], []),
        ([call(0, "vault-a"), call(61, "mail", actions=("send",))], []),
        ([call(0, "vault-a"), call(50, "vault-b"), call(70, "mail", actions=("send",))], [70]),
        ([call(0, "vault-a"), call(1, "mail", actions=("send",)), call(2, "mail", actions=("send",))], [1]),
        ([call(0, "vault-a", instance="i2"), call(1, "mail", actions=("send",))], []),
        ([call(0, "vault-a", kind="served"), call(1, "mail", actions=("send",))], []),
    ],
)
def test_calls_in_order(seen, times):
    assert found(rule(ORDER, within_s=60), *seen) == times


def test_what_is_counted_together():
    across = [call(0, "vault-a", instance="i1", txn="x1"), call(1, "mail", actions=("send",), instance="i2", txn="x1")]
    assert found(rule(ORDER, by="transaction"), *across) == [1]
    assert found(rule(ORDER, by="agent"), *across) == [1]
    assert found(rule(ORDER, by="instance"), *across) == []


def test_fan_out_counts_different_tools_within_the_window():
    fan = rule({"of": "fan_out", "more_than": 2}, within_s=60)
    assert found(fan, *(call(t, tool) for t, tool in enumerate(["a", "b", "a", "b", "a", "b"]))) == []
    assert found(fan, *(call(t, tool) for t, tool in enumerate(["a", "b", "c", "d"]))) == [2], "said once in a window"
    assert found(fan, call(0, "a"), call(30, "b"), call(61, "c")) == []


@pytest.mark.parametrize(
    ("before", "is_found"),
    [
        ((), False),
        ((SEARCH,), False),
        ((ADVISOR,), False),
        ((ADVISOR, SEARCH), True),
        ((SEARCH, ADVISOR), False),
        ((ADVISOR, SEARCH, SEARCH), True),
    ],
)
def test_a_chain_that_comes_back(before, is_found):
    """A→B→A; an agent that goes on with its own transaction is no circle."""
    assert bool(found(rule({"of": "cycle"}), call(0, before=before))) is is_found


@pytest.mark.parametrize(
    ("seen", "times"),
    [
        ([refusal(0), refusal(1), refusal(2)], [2]),
        ([refusal(0), refusal(1), call(2), refusal(3), refusal(4)], []),
        ([refusal(0), refusal(1), refusal(70)], []),
        ([refusal(0), refusal(1, "rate_limited"), refusal(2)], []),
    ],
)
def test_refusals_in_a_row(seen, times):
    when = {"of": "refusals", "at_least": 3, "reasons": ["out_of_charter"]}
    assert found(rule(when, within_s=60), *seen) == times


def test_a_tool_never_used_before():
    first = rule({"of": "first_use", "history": 3}, by="agent", within_s=1000)
    assert found(first, call(0, "a"), call(1, "b"), call(2, "c")) == [], "who is new has no habits"
    assert found(first, *(call(t, "a") for t in range(4)), call(5, "b"), call(6, "b")) == [5]
    assert found(first, call(0, "b"), *(call(t, "a") for t in range(500, 504)), call(900, "b")) == []
    assert found(first, call(0, "b"), *(call(t, "a") for t in range(500, 504)), call(1001, "b")) == [1001], "long ago is as never"


def test_a_guards_word_counts_for_tokens_that_were_issued_to_whom_it_names():
    """INVARIANT: what a guard says of a transaction counts only where RECORD knows that token, agent, instance and transaction.

    Believing the report itself would break it: one guard could have any agent quarantined.
    """
    told = rule({"of": "guard_refusal", "reasons": ["wrong_tool", "token_replayed"]})
    issued = call(0)
    assert found(told, issued, used(1)) == [1]
    assert found(told, issued, used(1), used(2), used(3, reason="token_replayed")) == [1, 3], "each reason once"
    assert found(told, issued, used(1, reason="token_expired")) == []
    assert found(told, issued, used(1, "other")) == []
    assert found(told, issued, used(1, txn="x2")) == []
    assert found(told, call(0, instance="i9"), used(1)) == []
    assert found(told, call(0, agent=SEARCH), used(1)) == []


def test_used_and_never_issued_is_about_the_guard():
    """Whom the token named is nobody's word: a lying guard must not have an innocent agent punished."""
    never = rule({"of": "never_issued"}, level="high")
    late = ISSUED_S + 1
    assert found(never, call(late, jti="j0"), used(late + 1, kind="served", reason=None), since=T0) == []
    assert found(never, used(late, "unknown", kind="served", reason=None), since=T0) == [late]
    assert found(never, used(ISSUED_S - 1, "unknown"), since=T0) == [], "not before all that could have been issued was seen"
    assert found(never, used(late + LATE_S + 1, "old", said_at=T0 + late), since=T0) == [], "a report that was on its way for long"
    finding = Detector(never, Issued(0)).observe(used(late, "unknown"))
    assert (finding.agent, finding.instance, finding.txn) == ("spiffe://88mph.com/tools/payments", POINT.partition(".")[0], None)


def test_only_agents_of_the_namespaces():
    fan = {"of": "fan_out", "more_than": 1}
    calls = [call(0, "a"), call(1, "b")]
    assert found(rule(fan, namespaces=["spiffe://88mph.com/agents"]), *calls) == [1]
    assert found(rule(fan, namespaces=["spiffe://88mph.com/agent"]), *calls) == []
    assert found(rule(fan, namespaces=["spiffe://88mph.com/tools"]), *calls) == []


def test_what_is_remembered_is_bounded():
    detector = Detector(rule({"of": "fan_out", "more_than": 5}, within_s=10), Issued(0))
    for n in range(1000):
        detector.observe(call(n, f"t{n}", instance=f"i{n}"))
    assert len(detector._groups) <= 11
    for n in range(MAX_GROUPS + 10):
        detector.observe(call(1000, "a", instance=f"j{n}"))
    assert len(detector._groups) == MAX_GROUPS


RULES = [
    rule(ORDER, within_s=60),
    rule({"of": "fan_out", "more_than": 2}, within_s=60),
    rule({"of": "refusals", "at_least": 2}, within_s=60),
    rule({"of": "first_use", "history": 2}, within_s=60),
]
EVENTS = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["vault-a", "mail", "x", "refused"]), st.sampled_from(["i1", "i2"])), max_size=60
)


@given(events=EVENTS, cut=st.integers(0, 60))
def test_where_one_began_to_look_changes_nothing_once_the_window_has_passed(events, cut):
    """INVARIANT: copies that began at different times find the same, under the same name, so that it is said once.

    Counting what was found before into what is found next would break it.
    """
    at, seen = 0, []
    for after, what, instance in events:
        at += after
        seen.append(refusal(at) if what == "refused" else call(at, what, instance=instance, actions=("read", "send")))
    begun = T0 + sum(after for after, _, _ in events[:cut])
    for made in RULES:
        whole, part = Detector(made, Issued(0)), Detector(made, Issued(0))
        late = [(e, whole.observe(e), part.observe(e) if e.at >= begun else None) for e in seen]
        for event, by_whole, by_part in late:
            if event.at > begun + made.within_s:
                assert (by_whole and by_whole.once) == (by_part and by_part.once)


def unproven(t, times, replays=0, **more):
    return Seen("unproven", next(_seqs), T0 + t, agent=ADVISOR, instance="k1", times=times, replays=replays, **more)


@pytest.mark.parametrize(
    ("when", "seen", "times"),
    [
        ({"at_least": 12}, [unproven(0, 12)], [0]),
        ({"at_least": 12}, [unproven(0, 10), unproven(20, 1), unproven(40, 1)], [40]),
        ({"at_least": 12}, [unproven(0, 10), unproven(61, 11)], []),
        ({"at_least": 12}, [unproven(0, 1_000_000)], [0]),
        ({"at_least": 2, "replayed": True}, [unproven(0, 500), unproven(1, 9, 1), unproven(2, 1, 1)], [2]),
        ({"at_least": 1}, [call(0), refusal(1)], []),
    ],
)
def test_failed_client_authentications(when, seen, times):
    level = "medium" if when.get("replayed") else "low"
    assert found(rule({"of": "client_failures", **when}, within_s=60, level=level), *seen) == times


@pytest.mark.parametrize("level", ["medium", "high"])
def test_what_anybody_can_cause_is_worth_little(level):
    """INVARIANT: nobody has a client quarantined by failing to be it: such a detection says `low`, which moves nothing by itself.

    Broken by a level of the registrar's choice: a stranger's guesses would be the client's guilt.  A replay is another thing.
    """
    with pytest.raises(ValidationError, match="anybody can cause"):
        rule({"of": "client_failures", "at_least": 5}, level=level)
    assert rule({"of": "client_failures", "at_least": 1, "replayed": True}, level=level).level == level
