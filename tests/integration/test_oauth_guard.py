"""A token of the token endpoint at a real guard: it is the very token that an invocation gives, and ends as that one does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from weft.digest import sha256
from weft.enforcement import Asked
from weft.errors import GuardReason, Refused
from weft.guard import Guard

from tests.support import world as small
from tests.support.guarded import Place
from tests.support.oauth import RESEARCHER, SEARCH, TXN, payload
from tests.support.oauth_fabric import Clients, fabric

TOOL = small.bodies()["web-search"]
ASKED = Asked("web-search", ("search",), "GET", "/q?x=1", b"")
CALL = {"method": "GET", "path": sha256("/q?x=1"), "body": sha256(b"")}


@pytest.fixture
async def placed(fabric_server: Any) -> AsyncIterator[tuple[Clients, Any, Guard]]:
    async with fabric(fabric_server) as (clients, http, _):
        place = Place(fabric_server)
        async with place._stack:
            await (await fabric_server.outer("point", "i" + "c4" * 13 + ".88mph~com.tools.web-search")).close()
            guard = Guard(await place.connection(spiffe_id=TOOL["workload"]), ["web-search"])
            await guard.start(deadline_s=10)
            place._stack.push_async_callback(guard.stop)
            yield clients, http, guard


async def reason(guard: Guard, token: str, asked: Asked = ASKED) -> GuardReason | None:
    try:
        await guard.check(token, asked)
    except Refused as refused:
        return refused.reason
    return None


async def exchange(clients: Clients, http: Any, **changes: Any) -> str:
    form = clients.exchange("researcher", **{"subject_token": json.dumps({"sub": RESEARCHER}), **changes})
    answer = await http.post("/oauth/token", data=form)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


async def test_a_guard_takes_it_for_that_call_and_until_it_is_revoked(placed: tuple[Clients, Any, Guard]) -> None:
    """Verifies that a token for a tool is accepted for the call it names, refused for another, and refused once its client ends it."""
    clients, http, guard = placed
    token = await exchange(clients, http, resource=SEARCH, request_details=json.dumps({"call": CALL}))
    assert await reason(guard, token) is None
    other = Asked("web-search", ("search",), "GET", "/q?x=2", b"")
    assert await reason(guard, token, other) is GuardReason.WRONG_CALL
    await http.post("/oauth/revoke", data={**clients.proven("researcher"), "token": token})
    async with asyncio.timeout(5):
        while await reason(guard, token) is not GuardReason.REVOKED:  # noqa: ASYNC110 - the entry is committed and on its way
            await asyncio.sleep(0.02)


async def test_a_guard_takes_none_that_names_no_tool(placed: tuple[Clients, Any, Guard]) -> None:
    """INVARIANT: the token of an exchange without a tool opens none, at a real guard too.

    Reading a missing `call` as any call would make every service's token a key to every tool.
    """
    clients, http, guard = placed
    plain = await exchange(clients, http)
    assert "call" not in payload(plain)
    assert await reason(guard, plain) is GuardReason.MALFORMED
    access = await http.post("/oauth/token", data={"grant_type": "client_credentials", **clients.proven("console")})
    assert await reason(guard, access.json()["access_token"]) is GuardReason.SIGNATURE


async def test_ending_the_root_ends_what_rests_on_it(placed: tuple[Clients, Any, Guard]) -> None:
    """Verifies that a guard refuses a call's token as soon as the token that its transaction began with is revoked."""
    clients, http, guard = placed
    root = await exchange(clients, http)
    token = await exchange(
        clients, http, resource=SEARCH, request_details=json.dumps({"call": CALL}), subject_token_type=TXN, subject_token=root
    )
    assert await reason(guard, token) is None
    await http.post("/oauth/revoke", data={**clients.proven("researcher"), "token": root})
    async with asyncio.timeout(5):
        while await reason(guard, token) is not GuardReason.REVOKED:  # noqa: ASYNC110 - the entry is committed and on its way
            await asyncio.sleep(0.02)
