"""What an agent is shown: what it may call, and no other name."""

from typing import Any

import pytest
from weft.digest import target_digest

from schemas.decision import Caller
from tests.support import world
from tests.support.facts import put
from workers.common.decision import callable_tools


def listed(request: str, changes: dict[str, Any] | None = None) -> dict[str, tuple[str, ...]]:
    asked = world.request(request)
    tools = callable_tools(asked.caller, world.facts(changes), now=asked.now, environment=asked.environment)
    return {tool.name: tool.actions for tool in tools}


def test_an_agent_sees_what_it_may_call_on_its_own() -> None:
    assert listed("search") == {"search-agent": ("delegate",), "web-search": ("search",)}
    assert listed("hop") == {"web-search": ("search",)}


def test_an_agent_sees_what_it_may_call_for_a_person() -> None:
    assert listed("refund") == {"fraud-check": ("check",), "payments-processing": ("refund", "read")}


QUARANTINED = {
    "kind": "posture",
    "scope": "agent",
    "target": target_digest("agent", "spiffe://88mph.com/agents/researcher"),
    "level": "quarantined",
    "causes": [],
}


@pytest.mark.parametrize(
    "changes",
    [
        {"researcher": {"state": "suspended"}},
        {"researcher": None},
        {"domain": None, "agents": None},
        {"policy": None},
        {"policy": {"cedar": "not cedar"}},
        {"researcher": {"charter": {"tools": []}}},
        {"agents": {"bounds": {"actions": []}}},
        {"posture": QUARANTINED},
    ],
)
def test_who_may_call_nothing_sees_nothing(changes: dict[str, Any]) -> None:
    assert listed("search", changes) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"web-search": {"state": "retired"}},
        {"search-tool": None},
        {"forbids": {"kind": "policy", "name": "forbids", "cedar": 'forbid (principal, action, resource == Weft::Tool::"web-search");'}},
        {"web-search": {"purposes": ["other"]}},
    ],
)
def test_one_tool_is_gone(changes: dict[str, Any]) -> None:
    assert listed("search", changes) == {"search-agent": ("delegate",)}


def test_only_concrete_purposes_are_listed() -> None:
    assert listed("search", {"web-search": {"purposes": ["web.search.*"]}}) == {"search-agent": ("delegate",)}


def test_nobody_to_act_for() -> None:
    assert listed("refund", {"marty-delegates": None}) == {}
    assert listed("refund", {"marty-delegates": {"expires_at": 1000}}) == {}


def test_a_change_shows_at_once() -> None:
    asked, table = world.request("hop"), world.facts()

    def names(caller: Caller) -> list[str]:
        return [tool.name for tool in callable_tools(caller, table, now=asked.now, environment={})]

    assert names(asked.caller) == ["web-search"]
    put(table, world.bodies()["search-search"], deleted=True)
    assert names(asked.caller) == []
