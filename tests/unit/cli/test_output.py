import io
import json

import pytest

from workers.cli.exits import Exit, Stop
from workers.cli.explained import explanation
from workers.cli.facts import described
from workers.cli.output import Output, cell, table
from workers.cli.records import line


def test_a_table_is_aligned_and_says_nothing_twice():
    rows = [{"name": "a", "ready": True, "n": 3}, {"name": "longer", "ready": False}]
    assert table(rows, ("name", "ready", "n")) == "NAME    READY  N\na       yes    3\nlonger  no     -"


def test_a_cell_is_short_and_harmless():
    """INVARIANT: what others wrote cannot move the cursor, colour the terminal or start a new line.

    Printing a fact's or an event's text as it came would break it.
    """
    assert cell("a\x1b[31mb\n") == "a?[31mb?"
    assert len(cell("x" * 500)) == 72
    assert cell(["a", "b"]) == "a, b"
    assert cell({"a": 1}) == '{"a": 1}'
    assert cell([]) == "-"


HOSTILE = "risk\x1b[2J of \x9b31m\u202e nobody\nweft: all is well"


@pytest.mark.parametrize("as_json", [True, False])
def test_nothing_that_is_printed_reaches_the_terminal_as_more_than_text(as_json: bool) -> None:
    """INVARIANT: whatever a transmitter, a tool or an agent wrote, no command prints a control character of it, JSON included.

    Broken by an event of the record printed as it came, or by JSON that leaves alone what is no control character in ASCII: terminals obey
    U+009B as they do ESC [.
    """
    out, err = io.StringIO(), io.StringIO()
    made = Output(as_json=as_json, out=out, err=err)
    row = {"seq": 7, "event": {"time": "2026-11-24T09:00:00Z", "type": "org.weft.record.signalled.v1", "data": {"detail": HOSTILE}}}
    made.value({"detail": HOSTILE}, f"detail {HOSTILE}")
    made.say(HOSTILE)
    made.event(row, line(row))
    made.stop(Stop(Exit.REFUSED, "refused", HOSTILE))
    printed = out.getvalue() + err.getvalue()
    assert all(char.isprintable() or char == "\n" for char in printed)
    assert len(out.getvalue().splitlines()) == (2 if as_json else 5)


def test_json_is_one_document_and_people_get_sentences():
    out, err = io.StringIO(), io.StringIO()
    machine = Output(as_json=True, out=out, err=err)
    machine.rows([{"a": 1}], ("a",))
    machine.say("not for programs")
    machine.stop(Stop(Exit.REFUSED, "not_found", "no tool x"))
    assert json.loads(out.getvalue()) == [{"a": 1}]
    assert json.loads(err.getvalue()) == {"error": "not_found", "detail": "no tool x", "exit": 1}
    out, err = io.StringIO(), io.StringIO()
    person = Output(as_json=False, out=out, err=err)
    person.rows([], ("a",), empty="no tools")
    person.stop(Stop(Exit.UNREACHABLE, "unreachable"))
    assert (out.getvalue(), err.getvalue()) == ("no tools\n", "weft: unreachable\n")


def test_facts_have_names_for_people():
    assert described("k", {"subject": "user:a", "relation": "member_of", "object": "team:b"}) == "user:a member_of team:b"
    assert described("k", {"iss": "https://a"}) == "https://a"
    assert described("k", {"name": "tool"}) == "tool"
    assert described("k", None) == "k"


ISSUED = {
    "seq": 15,
    "time": "2026-11-24T01:33:11.935Z",
    "what": "issued",
    "event": {
        "data": {
            "explanation": "e1",
            "kid": "k1",
            "intent": "refund\x1b[2J 84729",
            "input": {
                "caller": {"id": "spiffe://d/a", "instance": "i1", "attested": True, "assurance": "development"},
                "user": {"sub": "marty", "iss": "https://login"},
                "tool": "payments",
                "actions": ["refund"],
                "purpose": "process.refund",
                "parent": {"how": "sibling", "jti": "j0"},
            },
            "decision": {"lines": [{"gate": "charter", "passed": True}], "facts_revision": 30, "policy_digest": "p", "engine": "1"},
            "claims": {
                "jti": "j1",
                "txn": "t1",
                "iat": 0,
                "exp": 60,
                "call": {"tool": "payments", "actions": ["refund"], "single_use": True, "bound": ["body"]},
                "act": {"sub": "spiffe://d/a"},
                "act_chain": [{"sub": "spiffe://d/b", "tool": "search"}],
                "evidence": [{"tool": "fraud", "seq": 14, "object": "o"}],
            },
        }
    },
}


def test_an_explanation_says_who_what_why_and_what_followed():
    used = {
        "tool": "payments",
        "point": "p",
        "agent": "spiffe://d/a",
        "instance": "i1",
        "accepted": False,
        "reason": "token_replayed",
        "jti": "j1",
    }
    revoked = {"n": 1, "by": "signals", "targets": ["instance:i1"], "cause": "posture quarantined", "posture_revision": 33}
    completed = {"n": 1, "contained": False, "points": [{"state": "confirmed"}, {"state": "uncontained"}], "last_ms": 1.25}
    rows = [
        ISSUED,
        *(
            {"seq": 16, "time": "t", "what": what, "event": {"data": data}}
            for what, data in (("used", used), ("revoked", revoked), ("completed", completed))
        ),
    ]
    text = explanation(rows)
    for wanted in (
        "#15", "spiffe://d/a  instance i1 (attested, development)", "marty (by https://login)", "payments: refund, purpose process.refund",
        "refund?[2J 84729", "sibling of j0", "pass        charter", "j1 for payments: refund, once, bound to body, 60 s, key k1",
        "spiffe://d/b (for search) -> spiffe://d/a", "fraud at #14, object o", "facts revision 30, policy p, engine 1",
        "refused, token_replayed", "instance:i1", "1, NOT CONTAINED", "1 confirmed, 0 expired, 1 uncontained", "1.2 ms",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert "\x1b" not in text


def test_a_refusal_that_could_not_be_read_far_is_explained_as_far():
    data = {"by": "gateway", "reason": "malformed", "explanation": "e2", "caller": "i1.d.a", "detail": "not the event expected here"}
    text = explanation([{"seq": 3, "time": "t", "what": "denied", "event": {"data": data}}])
    assert "malformed" in text
    assert "i1.d.a" in text
