"""RFC 9396 authorization details: sections 2, 5 and 9.1.  An agent asks for them with its call; charter, tool and call bound them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.reasons import DenyReason
from schemas.record import Denied
from streams.bus import parse
from tests.compliance.test_rfc9068_access_tokens import at_the_guard, granted, read_by_another, record
from tests.support.hotpath import HotPath
from tests.support.invocations import RESEARCHER, SEARCH
from tests.support.oauth import OAuthWorld

RESOURCE = "https://web-search.88mph.com"
TYPE = "urn:88mph:search"
DETAIL = {"type": TYPE, "actions": ["search"], "locations": [RESOURCE], "identifier": "index-1"}


@pytest.fixture
def hot() -> HotPath:
    made = HotPath()
    record(made, token_form="access_token")
    return made


def charter(hot: HotPath, *types: str) -> None:
    agent = hot.table.agent(RESEARCHER)
    hot.put(agent.model_copy(update={"charter": agent.charter.model_copy(update={"authorization_details": types})}))


async def test_9_1_details_that_tool_and_charter_know_are_in_the_token(hot: HotPath) -> None:
    charter(hot, TYPE)
    record(hot, authorization_details=(TYPE,))
    token = (await granted(hot, authorization_details=[DETAIL])).token
    assert read_by_another(hot, token)["authorization_details"] == [DETAIL]
    assert at_the_guard(hot, token).call.authorization_details == (DETAIL,)


async def test_details_are_in_a_transaction_token_too(hot: HotPath) -> None:
    charter(hot, TYPE)
    record(hot, authorization_details=(TYPE,), token_form="txn")
    token = at_the_guard(hot, (await granted(hot, authorization_details=[DETAIL])).token)
    assert token.call.authorization_details == (DETAIL,)


REFUSED_DETAILS = {
    "a type the tool does not know": ((TYPE,), (), DETAIL),
    "a type the charter does not name": ((), (TYPE,), DETAIL),
    "an action that was not asked for": ((TYPE,), (TYPE,), {**DETAIL, "actions": ["search", "delete"]}),
    "another place": ((TYPE,), (TYPE,), {**DETAIL, "locations": ["https://elsewhere"]}),
}


@pytest.mark.parametrize("name", REFUSED_DETAILS)
async def test_5_details_beyond_the_call_are_refused(hot: HotPath, name: str) -> None:
    """INVARIANT: authorization details never say more than charter, tool and call allow (RFC 9396 section 5).

    Broken by copying what the agent asks for into the token.
    """
    of_charter, of_tool, detail = REFUSED_DETAILS[name]
    charter(hot, *of_charter)
    record(hot, authorization_details=of_tool)
    agent = hot.agent()
    await hot.gateway.invoke(agent.name, agent.body(hot.clock.at, authorization_details=[detail]), hot.clock.at)
    assert parse(Denied, hot.stream.messages[-1][1]).data.reason is DenyReason.DETAILS_NOT_ALLOWED


@pytest.mark.parametrize(
    "detail", [{"actions": ["search"]}, {**DETAIL, "unknown": 1}, {**DETAIL, "actions": "search"}, "text", {"type": ""}]
)
async def test_5_members_that_are_not_of_the_type_are_refused(hot: HotPath, detail: Any) -> None:
    charter(hot, TYPE)
    record(hot, authorization_details=(TYPE,))
    agent = hot.agent()
    await hot.gateway.invoke(agent.name, agent.body(hot.clock.at, authorization_details=[detail]), hot.clock.at)
    assert parse(Denied, hot.stream.messages[-1][1]).data.reason is DenyReason.MALFORMED


async def test_a_child_has_no_type_that_its_transaction_did_not_begin_with(hot: HotPath) -> None:
    parent = await granted(hot, tool="search-agent", actions=["delegate"])
    agent = hot.table.agent(SEARCH)
    hot.put(agent.model_copy(update={"charter": agent.charter.model_copy(update={"authorization_details": (TYPE,)})}))
    record(hot, authorization_details=(TYPE,))
    search = hot.agent(id=SEARCH, instance="i" + "c3" * 13)
    hot.broker.asked.clear()
    await hot.gateway.invoke(search.name, search.body(hot.clock.at, parent=parent.token, authorization_details=[DETAIL]), hot.clock.at)
    assert hot.broker.asked == []
    assert parse(Denied, hot.stream.messages[-1][1]).data.reason is DenyReason.DETAILS_NOT_ALLOWED


async def test_5_a_client_for_itself_has_none(world: OAuthWorld) -> None:
    """Left out, the client would believe its token narrowed."""
    form = {"grant_type": "client_credentials", **world.proven(), "authorization_details": json.dumps([DETAIL])}
    answer = await world.post("/oauth/token", form)
    assert (answer.status_code, answer.json().get("error")) == (400, "invalid_authorization_details")
