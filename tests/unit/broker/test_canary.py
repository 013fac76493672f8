"""Canary tokens are real, and good for nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from weft.digest import call_digest, call_parts
from weft.enforcement import Asked, check_addressed, check_call
from weft.errors import GuardReason
from weft.errors import Refused as GuardRefused
from weft.records import parse_attachment
from weft.spiffeid import SpiffeID
from weft.token import verify_token

from schemas.drills import CanaryWanted
from schemas.points import Attach
from schemas.reasons import DenyReason
from schemas.record import CANARY_ISSUED, Denied
from streams.bus import parse
from tests.support.hotpath import SETTINGS, HotPath
from tests.support.invocations import SEARCH
from workers.broker.canary import Canaries
from workers.broker.claims import fresh_id
from workers.common.rpc import Refused
from workers.registry.points import attached

INSTANCE = "i" + "c" * 26


def canaries(hot: HotPath) -> Canaries:
    return Canaries(views=hot.views, record=hot.recorder, signer=hot.signer, clock=hot.clock, settings=SETTINGS, fresh_id=fresh_id)


async def minted(hot: HotPath, tool: str) -> Any:
    answer = json.loads(await canaries(hot).answer(CanaryWanted(drill="d1", tool=tool, instance=INSTANCE)))
    keys = {hot.signer.kid: hot.signer._private.public_key()}
    return verify_token(answer["data"]["token"], keys, issuer=SETTINGS.issuer, audiences=["88mph.com"], now=hot.clock.at)


async def test_a_canary_passes_a_guard_but_for_the_action_that_it_has_not() -> None:
    """INVARIANT: a canary token is what a guard would accept, and no guard serves anything for it.

    Broken by a token that guards refuse anyway (a drill of it proves nothing), or by one that names an action.
    """
    hot = HotPath()
    token = await minted(hot, "web-search")
    workload = SpiffeID.parse(hot.table.tool("web-search").workload)
    answer = attached(
        Attach(tools=("web-search",)), workload, hot.table, trust_domain="88mph.com", issuer=SETTINGS.issuer, now=hot.clock.at
    )
    tool = parse_attachment(answer.plain()).tools["web-search"]
    check_addressed(token, tool)
    assert token.act.instance == INSTANCE
    assert token.call.digest != call_digest(call_parts("GET", "/", b""), ("method", "path", "body"))
    for actions in ((), ("search",), tuple(tool.actions)):
        with pytest.raises(GuardRefused) as refused:
            check_call(token, Asked("web-search", actions, "GET", "/", b""), tool, hot.clock.at)
        assert refused.value.reason is GuardReason.WRONG_ACTION


async def test_a_canary_is_nobodys_parent() -> None:
    """INVARIANT: a tool that is an agent gets nothing for the canary it was shown.

    Broken by a ceiling that leaves anything: every point of an agent that can be called holds such a token.
    """
    hot = HotPath()
    token = await minted(hot, "search-agent")
    assert token.call.workload == SEARCH
    hot.revocations.counter = token.rev
    search = hot.agent(id=SEARCH, instance="i" + "c3" * 13)
    await hot.gateway.invoke(search.name, search.body(hot.clock.at, parent=token.raw), hot.clock.at)
    assert parse(Denied, hot.stream.messages[-1][1]).data.reason is DenyReason.CHAIN_TOO_DEEP


async def test_a_canary_is_on_record_before_it_leaves() -> None:
    hot = HotPath()
    token = await minted(hot, "web-search")
    (_, body) = hot.stream.messages[-1]
    said = json.loads(body)
    assert (said["type"], said["data"]["claims"]["jti"]) == (CANARY_ISSUED, token.jti)
    hot.stream.full = True
    with pytest.raises(Refused) as refused:
        await minted(hot, "web-search")
    assert refused.value.reason is DenyReason.RECORD_UNAVAILABLE


async def test_no_canary_for_what_is_no_tool_or_by_views_that_are_stale() -> None:
    hot = HotPath()
    with pytest.raises(Refused):
        await minted(hot, "nothing")
    hot.views.is_fresh = False
    with pytest.raises(Refused) as refused:
        await minted(hot, "web-search")
    assert refused.value.reason is DenyReason.VIEW_STALE
