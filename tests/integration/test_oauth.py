"""The OAuth face on a real server and a real socket: registry, broker, revocation and edge, and clients that are not on the bus."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
from weft.digest import sha256

from streams.access import CREDENTIALS, EXPORTS
from streams.subjects import OAUTH
from tests.support import world as small
from tests.support.facts import body as fact_body
from tests.support.invoking import Invoking
from tests.support.oauth import client, payload
from tests.support.oauth_fabric import fabric
from workers.supervisor.waiting import free_port


async def test_a_token_from_grant_to_revocation(fabric_server: Any) -> None:
    """Verifies that a client gets a token, that introspection believes it, and that nobody does once it is revoked."""
    async with fabric(fabric_server) as (clients, http, invoking):
        metadata = (await http.get("/.well-known/oauth-authorization-server")).json()
        assert metadata["issuer"] == clients.settings.issuer
        answer = await http.post(metadata["token_endpoint"], data={"grant_type": "client_credentials", **clients.proven()})
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
        assert payload(token)["aud"] == clients.settings.issuer
        assert (await http.post(metadata["introspection_endpoint"], data={**clients.proven(), "token": token})).json()["active"] is True
        assert (await http.post(metadata["revocation_endpoint"], data={**clients.proven(), "token": token})).status_code == 200
        async with asyncio.timeout(10):
            while (await http.post(metadata["introspection_endpoint"], data={**clients.proven(), "token": token})).json()["active"]:  # noqa: ASYNC110 - HTTP has no event for when the broker heard it
                await asyncio.sleep(0.02)
        types = [event["type"] for _, event in await invoking.record()]
        assert types.count("org.weft.record.exchanged.v1") == 1
        assert types.count("org.weft.record.revoked.v1") == 1


async def test_an_assertion_and_a_proof_are_good_once_in_two_brokers(fabric_server: Any) -> None:
    """Verifies that what was used at one copy of the broker is refused by the other."""
    async with fabric(fabric_server) as (clients, http, invoking), invoking.workers("broker"):
        for _ in range(3):  # queue groups choose at random
            form = {"grant_type": "client_credentials", **clients.proven()}
            statuses = [(await http.post("/oauth/token", data=form)).status_code for _ in range(3)]
            assert statuses == [200, 401, 401]
            proof = {"dpop": clients.proof(f"{clients.settings.issuer}/oauth/token")}
            bound = [{"grant_type": "client_credentials", **clients.proven()} for _ in range(3)]
            statuses = [(await http.post("/oauth/token", data=each, headers=proof)).status_code for each in bound]
            assert statuses == [200, 400, 400]


async def test_a_nonce_of_one_broker_counts_at_the_other(fabric_server: Any) -> None:
    """Verifies RFC 9449 section 8 over HTTP: asked for, shown, and believed by whichever copy of the broker hears it."""
    async with fabric(fabric_server, oauth_dpop_nonce=True) as (clients, http, invoking), invoking.workers("broker"):
        url = f"{clients.settings.issuer}/oauth/token"

        async def ask(**claims: Any) -> httpx.Response:
            form = {"grant_type": "client_credentials", **clients.proven()}
            return await http.post("/oauth/token", data=form, headers={"dpop": clients.proof(url, **claims)})

        first = await ask()
        assert (first.status_code, first.json()["error"]) == (400, "use_dpop_nonce")
        answers = [await ask(nonce=first.headers["dpop-nonce"]) for _ in range(8)]  # queue groups choose at random
        assert [answer.status_code for answer in answers] == [200] * 8
        assert {answer.json()["token_type"] for answer in answers} == {"DPoP"}


async def test_a_service_begins_a_transaction_and_an_agent_calls_a_tool_in_it(fabric_server: Any) -> None:
    """Verifies the whole exchange off the bus, that both tokens stand on RECORD, and that ending the first ends the second."""
    async with fabric(fabric_server) as (clients, http, invoking):
        researcher = small.bodies()["researcher"]["id"]
        edges = [("delegates_to", f"agent:{researcher}"), ("operates", "toolgroup:search")]
        facts = [{"kind": "relation", "subject": "user:marty", "relation": name, "object": to} for name, to in edges]
        ack = await fabric_server.put_facts(*(fact_body(plain) for plain in facts))
        root = await http.post("/oauth/token", data=clients.exchange())
        assert root.status_code == 200, root.text
        call = {"method": "GET", "path": sha256("/q"), "body": sha256(b"")}
        form = clients.exchange(
            "researcher",
            subject_token=root.json()["access_token"],
            subject_token_type="urn:ietf:params:oauth:token-type:txn_token",
            resource="https://web-search.88mph.com",
            request_details=json.dumps({"call": call}),
        )
        async with asyncio.timeout(10):
            while (answer := await http.post("/oauth/token", data=form)).status_code != 200:
                assert ack.seq
                form |= clients.proven("researcher")
                await asyncio.sleep(0.05)
        token = answer.json()["access_token"]
        assert payload(token)["txn"] == payload(root.json()["access_token"])["txn"]
        await http.post("/oauth/revoke", data={**clients.proven("front"), "token": root.json()["access_token"]})
        async with asyncio.timeout(10):
            while (await http.post("/oauth/introspect", data={**clients.proven("researcher"), "token": token})).json()["active"]:  # noqa: ASYNC110 - HTTP has no event for when the broker heard it
                await asyncio.sleep(0.02)
        types = [event["type"] for _, event in await invoking.record()]
        assert "org.weft.record.issued.v1" in types
        assert "org.weft.record.exchanged.v1" in types


async def test_without_a_broker_the_face_says_try_again(fabric_server: Any) -> None:
    server = fabric_server
    issuer = f"http://127.0.0.1:{free_port()}"
    server.settings = server.settings.model_copy(update={"issuer": issuer, "edge_port": int(issuer.rpartition(":")[2])})
    async with Invoking(server).workers("edge"), httpx.AsyncClient(base_url=issuer, timeout=10) as http:
        answer = await http.post("/oauth/token", data={"grant_type": "client_credentials"})
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert answer.headers["retry-after"] == "1"


async def test_a_client_that_is_suspended_is_nobody_within_a_beacon(fabric_server: Any) -> None:
    async with fabric(fabric_server) as (clients, http, _):
        form = {"grant_type": "client_credentials"}
        assert (await http.post("/oauth/token", data={**form, **clients.proven()})).status_code == 200
        await fabric_server.put_facts(fact_body(client("console", clients.keys["console"], state="suspended")))
        async with asyncio.timeout(5):
            while (await http.post("/oauth/token", data={**form, **clients.proven()})).status_code != 401:  # noqa: ASYNC110 - HTTP has no event for when the broker heard it
                await asyncio.sleep(0.02)


def test_nobody_but_the_edge_asks() -> None:
    """INVARIANT: the OAuth subject is exported to the edge's account alone, and no other worker may publish there.

    Whoever could would authenticate as any client of mutual TLS: which certificate a connection showed is the edge's word.
    """
    assert [export.to for export in EXPORTS if export.subject == OAUTH.filter] == [("EDGE",)]
    assert [name for name, each in CREDENTIALS.items() if OAUTH.filter in each.permissions.publish] == ["edge"]
