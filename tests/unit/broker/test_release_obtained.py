"""A token of another authorization server goes to the egress, sealed, for the call's own token; the agent holds nothing but that."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from unittest.mock import Mock

import pytest
from nacl.public import PrivateKey, SealedBox
from weft.digest import b64u, unb64u

from schemas.envelope import CloudEvent
from schemas.facts import Relation
from schemas.reasons import DenyReason
from schemas.vault import RELEASE, Release, Released
from streams.bus import Caller, parse
from tests.support.hotpath import SETTINGS, HotPath
from tests.support.invocations import AgentSide
from tests.support.ledgers import MemoryLedger
from tests.unit.broker.test_authservers import CRM, SERVER, TheirServer, answer, asker
from workers.broker.authservers.obtaining import Elsewhere
from workers.broker.release import Releases
from workers.broker.signer import Committed
from workers.common.rpc import Refused

EGRESS = Caller("EGRESS", "i" + "e5" * 13 + ".88mph~com.egress")
CALL = {"tool": "crm", "actions": ["search"], "purpose": "web.search.execute"}
ENDLESS = {"access_token": "opaque-7", "token_type": "Bearer", "expires_in": 86_400}


class Town:
    """A tool behind the egress, whose upstream takes tokens of another server."""

    def __init__(self, upstream: str = CRM) -> None:
        tool = {
            "kind": "tool", "name": "crm", "owner": "o", "workload": SETTINGS.egress_id, "endpoint": "http://egress", "resource": CRM,
            "actions": ["search"], "purposes": ["web.search.execute"],
            "obtain": {"server": "other", "by": "client_credentials", "scopes": ["crm.read"]},
            "egress": {"upstream": upstream, "routes": [{"method": "GET", "path": "/*", "actions": ["search"]}]},
        }  # fmt: skip
        self.hot = HotPath({"server": json.loads(SERVER.wire()), "crm": tool, "researcher": {"charter": {"tools": ["*"]}}})
        self.hot.put(_operates())
        self.theirs = TheirServer({SERVER.token_endpoint or "": [answer(ENDLESS)]})
        hot = self.hot
        elsewhere = Elsewhere(
            facts=lambda: hot.table, revocations=hot.revocations, asker=asker(self.theirs), record=hot.recorder, clock=hot.clock,
            spawn=lambda work, name: asyncio.ensure_future(work), ledger=MemoryLedger(), logger=Mock(),
        )  # fmt: skip
        parts: Any = {"store": None, "recorder": hot.recorder, "clock": hot.clock, "settings": SETTINGS, "elsewhere": elsewhere}
        self.releases = Releases(hot.views, hot.verifier, hot.revocations, **parts)
        self.box = PrivateKey.generate()

    async def token(self, agent: AgentSide | None = None) -> str:
        granted = await self.hot.mint.grant(await self.hot.allowed(agent or self.hot.agent(), **CALL))
        assert granted.token is not None
        return granted.token

    async def release(self, token: str, who: Caller = EGRESS) -> bytes:
        data = Release(token=token, tool="crm", box_key=b64u(bytes(self.box.public_key)))
        asked = CloudEvent[Release](id="1", source="/egress", type=RELEASE, time="2026-11-24T00:00:00Z", data=data)
        return SealedBox(self.box).decrypt(unb64u(parse(Released, await self.releases.release(who, asked)).data.boxed))


def _operates() -> Any:
    return Relation(subject="agent:spiffe://88mph.com/agents/researcher", relation="operates", object="tool:crm")


async def test_the_egress_is_shown_what_no_agent_may_hold() -> None:
    """INVARIANT: a token that could not be handed to an agent leaves the broker sealed, for the egress, for one call (issue 4).

    Broken by granting it to the agent, or by sending it in clear.
    """
    town = Town()
    token = await town.token()
    assert await town.release(token) == b"opaque-7"
    assert all(b"opaque-7" not in body for _, body, *_ in town.hot.stream.messages)
    assert "opaque-7" not in token


@pytest.mark.parametrize("wrong", ["caller", "revoked", "upstream", "another tool's token"])
async def test_it_is_released_to_the_egress_for_a_live_call_of_this_tool_alone(wrong: str) -> None:
    town = Town("https://elsewhere.example" if wrong == "upstream" else CRM)
    token = await town.token()
    who = Caller("AGENTS", EGRESS.name) if wrong == "caller" else EGRESS
    if wrong == "revoked":
        town.hot.revocations.hit.add(json.loads(unb64u(token.split(".")[1]))["jti"])
    if wrong == "another tool's token":
        token = (await town.hot.mint.grant(await town.hot.allowed(town.hot.agent()))).token or ""
    with pytest.raises(Refused) as refused:
        await town.release(token, who)
    expected = {"caller": DenyReason.CALLER_UNKNOWN, "revoked": DenyReason.REVOKED, "upstream": DenyReason.AUTHSERVER_REFUSED}
    assert refused.value.reason is expected.get(wrong, DenyReason.NOT_AUTHORIZED)
    assert town.theirs.sent == []


async def test_a_drills_token_opens_nothing() -> None:
    """INVARIANT: no credential leaves the broker for a token that allows no action: drills show such tokens to every guard.

    Broken by asking only which tool a token names.
    """
    town = Town()
    claims = json.loads(unb64u((await town.token()).split(".")[1]))
    claims["call"]["actions"] = []
    token = town.hot.signer.issue_token(Committed(json.dumps(claims).encode(), 1, town.hot.signer.kid))
    with pytest.raises(Refused) as refused:
        await town.release(token)
    assert refused.value.reason is DenyReason.NOT_AUTHORIZED
    assert town.theirs.sent == []
