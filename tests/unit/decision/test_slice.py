"""The slice of the graph: what it reaches, what it costs, how long it holds."""

from typing import Any

import pytest

from schemas.reasons import DenyReason
from streams.facts_table import FactsTable
from tests.support import world
from tests.support.facts import put, table_of
from workers.common.decision import decide
from workers.common.decision.slice import MAX_DEPTH, Ends, Slice, SliceTooLarge, slice_for

AGENT = "spiffe://88mph.com/agents/a"
ENDS = Ends(AGENT, "t", "u", (AGENT,))


def edge(subject: str, relation: str, obj: str, **more: Any) -> dict[str, Any]:
    return {"kind": "relation", "subject": subject, "relation": relation, "object": obj, **more}


def cut(table: FactsTable, now: int = 100) -> Slice:
    return slice_for(table, ENDS, now)


def chain(length: int) -> list[dict[str, Any]]:
    """A person `length` teams away from the one that operates the tool."""
    teams = [f"team:{n}" for n in range(length)]
    up = [edge(a, "member_of", b) for a, b in zip(["user:u", *teams], teams, strict=False)]
    return [*up, edge(teams[-1], "operates", "tool:t")]


def test_it_reaches_over_teams_and_groups_of_groups() -> None:
    table = table_of(
        [
            edge("user:u", "member_of", "team:a"),
            edge("team:a", "member_of", "team:b"),
            edge("team:b", "operates", "toolgroup:x", actions=["read"]),
            edge("toolgroup:x", "contains", "toolgroup:y"),
            edge("toolgroup:y", "contains", "tool:t"),
        ]
    )
    found = cut(table)
    assert found.user_groups == ("team:a", "team:b", "user:u")
    assert found.tool_groups == ("tool:t", "toolgroup:x", "toolgroup:y")
    assert found.user_rights[0].path == ("user:u", "team:a", "team:b", "toolgroup:x", "toolgroup:y", "tool:t")
    assert (found.user_operates("read"), found.user_operates("write"), found.agent_operates("read")) == (True, False, False)


@pytest.mark.parametrize("hops", [1, MAX_DEPTH])
def test_as_far_as_its_bound(hops: int) -> None:
    assert cut(table_of(chain(hops))).user_operates("read")


def test_no_further_than_its_bound() -> None:
    """INVARIANT: a graph that is larger than a request may cost denies; it is never cut short in silence (promise 7).

    It would break if the walk stopped at its bound and answered: beyond it may stand the team that a `forbid` names.
    """
    with pytest.raises(SliceTooLarge):
        cut(table_of(chain(MAX_DEPTH + 1)))
    far = {f"n{n}": edge(f"team:{n}", "member_of", f"team:{n + 1}") for n in range(9)}
    deep = world.facts({"start": edge("user:marty", "member_of", "team:0"), **far})
    assert decide(world.request("refund"), deep).reason is DenyReason.POLICY_ERROR


def test_a_person_of_too_many_teams_is_refused_without_looking() -> None:
    with pytest.raises(SliceTooLarge):
        cut(table_of(edge("user:u", "member_of", f"team:{n}") for n in range(10_001)))


def test_a_tool_that_many_operate_costs_nothing() -> None:
    table = table_of(edge(f"user:u{n}", "operates", "tool:t") for n in range(10_001))
    assert not cut(table).user_operates("read")
    assert slice_for(table, ENDS._replace(user="u77"), 100).user_operates("read")


def test_cycles_end() -> None:
    table = table_of([edge("user:u", "member_of", "team:a"), edge("team:a", "member_of", "team:b"), edge("team:b", "member_of", "team:a")])
    assert cut(table).user_groups == ("team:a", "team:b", "user:u")


def test_it_is_kept_until_an_event_touches_it() -> None:
    table = table_of(chain(3))
    first = cut(table)
    put(table, edge("user:other", "member_of", "team:0"), edge("team:2", "operates", "tool:other"), world.bodies()["payments"])
    assert cut(table) is first
    put(table, edge("team:1", "member_of", "team:other"))
    assert cut(table) is not first
    assert "team:other" in cut(table).user_groups


def test_a_delegation_that_was_not_there_is_noticed_when_it_comes() -> None:
    table = table_of([edge("user:u", "member_of", "team:a")])
    assert cut(table).consents is None
    put(table, edge("user:u", "delegates_to", f"agent:{AGENT}", actions=["read"]))
    assert cut(table).user_delegates("read", "web")
    assert not cut(table).user_delegates("write", "web")


def test_it_holds_between_two_expiries() -> None:
    table = table_of(
        [
            edge("user:u", "operates", "tool:t", expires_at=90),
            edge("user:u", "member_of", "team:a", expires_at=110),
            edge("user:u", "member_of", "team:b"),
        ]
    )
    found = cut(table)
    assert (found.since, found.until) == (90, 110)
    assert cut(table, 90) is found
    assert cut(table, 109) is found
    assert "team:a" not in cut(table, 110).user_groups
    assert cut(table, 89).user_operates("read")
