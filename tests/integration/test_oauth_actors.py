"""Actor tokens on a real server: front, a service off the bus, brings an agent's JWT-SVID beside a person's token."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from authlib.integrations.requests_client import OAuth2Session, OAuthError
from weft.digest import sha256
from weft.enforcement import Asked
from weft.errors import GuardReason, Refused
from weft.guard import Guard

from tests.integration.test_oauth_clients import library
from tests.support import world as small
from tests.support.acting import ACCESS, API, JWT, consent, front, svid
from tests.support.guarded import Place
from tests.support.oauth import EXCHANGE, FRONT, RESEARCHER, SEARCH, TXN, payload
from tests.support.oauth_fabric import Clients, fabric
from tests.support.ordering import revoke

BACKEND = "https://backend.88mph.com"
TOOL = small.bodies()["web-search"]
ASKED = Asked("web-search", ("search",), "GET", "/q?x=1", b"")
CALL = {"method": "GET", "path": sha256("/q?x=1"), "body": sha256(b"")}


def facts(clients: Clients) -> list[dict[str, Any]]:
    return [front(clients), consent(), {"kind": "relation", "subject": "user:marty", "relation": "operates", "object": "toolgroup:search"}]


def with_authlib(clients: Clients) -> str:
    """As a program does it that knows RFC 8693 from elsewhere; it is told why where it goes wrong."""
    url = f"{clients.settings.issuer}/oauth/token"
    asked = {"subject_token": clients.person(aud=API, client_id="app"), "subject_token_type": ACCESS, "scope": "web.search.execute"}
    with library(clients, "front") as session:
        token = _exchanged(session, url, asked | {"actor_token": svid(clients), "actor_token_type": JWT})
        with pytest.raises(OAuthError) as refused:
            _exchanged(session, url, asked | {"actor_token": clients.person(), "actor_token_type": JWT})
        assert refused.value.error == "invalid_request"
    assert (token["token_type"], token["issued_token_type"]) == ("Bearer", ACCESS)
    return str(token["access_token"])


def _exchanged(session: OAuth2Session, url: str, asked: dict[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = session.fetch_token(url, grant_type=EXCHANGE, requested_token_type=ACCESS, resource=BACKEND, **asked)
    return made


async def active(clients: Clients, http: httpx.AsyncClient, token: str) -> bool:
    answer = await http.post("/oauth/introspect", data={**clients.proven("front"), "token": token})
    return bool(answer.json()["active"])


async def test_an_access_token_in_which_an_agent_acts_lives_until_that_agent_is_revoked(fabric_server: Any) -> None:
    """Verifies the whole of an exchange with an actor token for a library of others, and that revoking who acts ends what it gave."""
    async with fabric(fabric_server, facts) as (clients, http, invoking):
        token = await asyncio.to_thread(with_authlib, clients)
        claims = payload(token)
        assert (claims["sub"], claims["aud"], claims["client_id"], claims["act"]["sub"]) == ("marty", BACKEND, "front", RESEARCHER)
        assert await active(clients, http, token)
        await revoke(fabric_server, "agent", RESEARCHER)
        async with asyncio.timeout(10):
            while await active(clients, http, token):  # noqa: ASYNC110 - HTTP has no event for when the broker heard it
                await asyncio.sleep(0.02)
        events = [event["type"] for _, event in await invoking.record()]
        assert "org.weft.record.exchanged.v1" in events
        assert "org.weft.record.notexchanged.v1" in events


async def test_a_guard_heeds_who_acted_before_the_call(fabric_server: Any) -> None:
    """INVARIANT: a call's token ends at the guard with whoever acted in the transaction before any call (promise 5).

    Broken by a token, or a guard, that knows of those alone who called.
    """
    async with fabric(fabric_server, facts) as (clients, http, _):
        place = Place(fabric_server)
        async with place._stack:
            await (await fabric_server.outer("point", "i" + "c4" * 13 + ".88mph~com.tools.web-search")).close()
            guard = Guard(await place.connection(spiffe_id=TOOL["workload"]), ["web-search"])
            await guard.start(deadline_s=10)
            place._stack.push_async_callback(guard.stop)
            token = await _called(clients, http)
            assert payload(token)["act"]["act"]["sub"] == FRONT
            assert await _reason(guard, token) is None
            await revoke(fabric_server, "agent", FRONT)
            async with asyncio.timeout(5):
                while await _reason(guard, token) is not GuardReason.REVOKED:  # noqa: ASYNC110 - the entry is committed and on its way
                    await asyncio.sleep(0.02)


async def _called(clients: Clients, http: httpx.AsyncClient) -> str:
    """Front begins marty's transaction; the researcher continues it with a search."""
    root = await _post(http, clients, "front", subject_token=clients.person(aud=API, client_id="app"), subject_token_type=ACCESS)
    step = {"subject_token": root, "subject_token_type": TXN, "resource": SEARCH, "request_details": json.dumps({"call": CALL})}
    return await _post(http, clients, "researcher", **step)


async def _post(http: httpx.AsyncClient, clients: Clients, name: str, **changes: Any) -> str:
    answer = await http.post("/oauth/token", data=clients.exchange(name, **changes))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def _reason(guard: Guard, token: str) -> GuardReason | None:
    try:
        await guard.check(token, ASKED)
    except Refused as refused:
        return refused.reason
    return None
