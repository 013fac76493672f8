"""Plans, and the expectations that a batch carries."""

from __future__ import annotations

from typing import Any

from schemas.commands import Change
from schemas.facts import Kind
from streams.bus import Outgoing
from streams.facts_keys import key_of
from streams.facts_table import FactsTable
from tests.support.facts import body, put, table_of
from workers.registry.planning import NAMESPACES, conflict_of, messages_of, plan_of
from workers.registry.prospect import Prospect

SPACE = {"kind": "namespace", "prefix": "spiffe://88mph.com/agents", "owner": "o"}
TOOL = {
    "kind": "tool",
    "name": "t",
    "owner": "o",
    "workload": "spiffe://88mph.com/t",
    "endpoint": "http://h",
    "resource": "https://h",
    "actions": ["a"],
    "purposes": ["p"],
}
AGENT = {
    "kind": "agent",
    "id": "spiffe://88mph.com/agents/a",
    "owner": "o",
    "realm": "first_party",
    "version": "1",
    "deployment": "d",
    "agent_type": "t",
    "selectors": {},
    "charter": {"purposes": ["p"], "tools": ["t"], "actions": ["a"]},
}


def change(plain: dict[str, Any], *, delete: bool = False, expected: int | None = None) -> Change:
    made = body(plain)
    return Change(kind=made.kind, key=key_of(made), body=None if delete else made, expected=expected)


def batch(table: FactsTable, *changes: Change) -> tuple[Outgoing, ...]:
    return messages_of(changes, plan_of(changes, Prospect(table, changes)), table, by="n", reason=None)


def test_a_plan_says_what_changes() -> None:
    table = table_of([SPACE, AGENT, TOOL])
    changes = [
        change(SPACE),
        change({**AGENT, "charter": {**AGENT["charter"], "tools": ["u"]}, "version": "2"}),
        change(TOOL, delete=True),
        change({**TOOL, "name": "u"}),
        change({**TOOL, "name": "v"}, delete=True),
    ]
    lines = plan_of(changes, Prospect(table, changes))
    assert [(line.action, line.fields) for line in lines] == [
        ("unchanged", ()),
        ("change", ("charter.tools", "version")),
        ("delete", ()),
        ("create", ()),
        ("unchanged", ()),
    ]


def test_every_changed_fact_carries_the_revision_it_was_planned_against() -> None:
    """INVARIANT: nobody's change is lost: each message names the revision that its author's change was checked against.

    One that named none would overwrite whatever another registrar committed in between.
    """
    table = put(table_of([TOOL, SPACE]), {**TOOL, "owner": "p"})
    messages = batch(table, change({**TOOL, "owner": "q"}), change({**TOOL, "name": "u"}))
    assert [(message.expected_last_subject_seq, message.expected_subject) for message in messages] == [(3, None), (0, None)]
    assert len({message.msg_id for message in messages}) == 2


def test_an_agent_carries_the_guard_beside_its_own_expectation() -> None:
    table = table_of([SPACE, TOOL, AGENT])
    own, guard = batch(table, change({**AGENT, "version": "2"}))
    assert (own.expected_last_subject_seq, own.expected_subject) == (3, None)
    assert (guard.expected_last_subject_seq, guard.expected_subject) == (1, NAMESPACES)
    assert (guard.subject, guard.body) == (own.subject, own.body)  # the same event: history shows it once
    assert guard.msg_id != own.msg_id


def test_a_namespace_of_the_batch_carries_the_guard() -> None:
    table = table_of([SPACE, TOOL, {**SPACE, "prefix": "spiffe://88mph.com/agents/b"}])
    messages = batch(table, change({**SPACE, "owner": "p"}), change(AGENT))
    assert [(m.expected_last_subject_seq, m.expected_subject) for m in messages] == [(3, NAMESPACES), (0, None)]


def test_nothing_to_write_and_no_guard_for_what_relies_on_nothing() -> None:
    table = table_of([SPACE, AGENT])
    assert batch(table, change(AGENT)) == ()
    assert len(batch(table, change(AGENT, delete=True))) == 1


def test_conflicts() -> None:
    table = put(table_of([TOOL]), {**TOOL, "name": "gone"})
    put(table, {**TOOL, "name": "gone"}, deleted=True)
    assert conflict_of([change(TOOL, expected=1), change(TOOL)], table) is None
    assert conflict_of([change(TOOL, expected=0)], table) == (change(TOOL, expected=0), 1)
    assert conflict_of([change(TOOL, expected=7)], table) == (change(TOOL, expected=7), 1)
    gone = change({**TOOL, "name": "gone"}, expected=0)
    assert conflict_of([gone], table) is None  # it must not exist, and it does not
    assert table.revision_of(Kind.TOOL, "gone") == 3
