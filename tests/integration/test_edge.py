"""The edge on a real server and a real socket: it asks over the bus, and what nobody answers is 503."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack

import httpx
import pytest

from config.settings import Settings
from schemas.facts import Key
from streams.access import CREDENTIALS
from streams.subjects import EGRESS_HEALTH
from tests.support.workers import running
from workers.common.health import answer_health
from workers.common.runtime import Runtime
from workers.edge import app as edge
from workers.edge.readiness import EXPECTED, SHARED_S
from workers.registry import app as registry
from workers.supervisor.certificates import Authority, Place
from workers.supervisor.waiting import free_port


def plain(worker):
    """A worker that does nothing but be well: its health is the real one."""

    def build(settings):
        runtime = Runtime(worker, settings, canary=worker == "broker", answers_health=worker != "egress")
        if worker == "egress":  # of another account, asked elsewhere
            answer_health(runtime, EGRESS_HEALTH.at())
        return runtime.app()

    return build


def placed(fabric_server, **changes) -> Settings:
    return fabric_server.settings.model_copy(update={"edge_port": free_port(), **changes})


async def until(http, path, status):
    """The answer, once it has this status: the edge shares a verdict for a second, so at most a few questions."""
    async with asyncio.timeout(15):
        while (answer := await http.get(path)).status_code != status:  # noqa: ASYNC110 - HTTP has no event to wait for
            await asyncio.sleep(SHARED_S / 2)
    return answer


async def test_ready_when_every_worker_is_and_not_when_one_is_gone(fabric_server):
    """INVARIANT: readiness is 200 only while every worker has a copy that answers for itself.

    Remembering a worker that answered once, or asking the bus instead of the workers, would break it.
    """
    settings = placed(fabric_server)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(edge.build, settings))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.edge_port}", timeout=10))
        assert (await http.get("/healthz")).json() == {"alive": True}
        alone = await http.get("/readyz")
        assert alone.status_code == 503
        assert {line["worker"]: line["copies"] for line in alone.json()["workers"]} == dict.fromkeys(EXPECTED, 0)
        others = [await stack.enter_async_context(running(plain(worker), settings)) for worker in EXPECTED]
        second = await stack.enter_async_context(running(plain("gateway"), settings))
        ready = (await until(http, "/readyz", 200)).json()
        assert {line["worker"] for line in ready["workers"] if line["ready"]} == set(EXPECTED)
        assert next(line["recorded"] for line in ready["workers"] if line["worker"] == "broker") is True
        await others[EXPECTED.index("gateway")].stop()
        await asyncio.sleep(SHARED_S)
        assert (await http.get("/readyz")).status_code == 200, "the other copy is enough"
        await second.stop()
        gone = (await until(http, "/readyz", 503)).json()
        assert [line["worker"] for line in gone["workers"] if not line["ready"]] == ["gateway"]


async def test_the_keys_are_those_of_the_facts(fabric_server):
    settings = placed(fabric_server)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.edge_port}", timeout=10))
        await stack.enter_async_context(running(edge.build, settings))
        assert (await http.get("/.well-known/jwks.json")).status_code == 503, "nobody has told it any"
        await stack.enter_async_context(running(registry.build, settings))
        answer = await http.get("/.well-known/jwks.json")
        tokens = fabric_server.keys["tokens"]
        assert [key["kid"] for key in answer.json()["keys"]] == [tokens.kid]
        assert "d" not in answer.json()["keys"][0]
        compromised = Key(purpose="tokens", kid=tokens.kid, jwk=tokens.jwk, trust_domain=settings.trust_domain, state="compromised")
        await fabric_server.put_facts(compromised)
        async with asyncio.timeout(15):
            while (await http.get("/.well-known/jwks.json")).json()["keys"]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.5)


async def test_tls_and_nothing_else_where_a_certificate_is_given(fabric_server, tmp_path):
    authority = Authority("test")
    place = Place(tmp_path / "cert.pem", tmp_path / "key.pem")
    authority.issue(place, ("127.0.0.1", "localhost"))
    settings = placed(fabric_server, edge_cert=place.cert, edge_key=place.key)
    trusting = ssl.create_default_context(cadata=authority.pem.decode())
    async with running(edge.build, settings):
        async with httpx.AsyncClient(verify=trusting) as http:
            assert (await http.get(f"https://127.0.0.1:{settings.edge_port}/healthz")).status_code == 200
        async with httpx.AsyncClient() as http:
            with pytest.raises(httpx.ConnectError):
                await http.get(f"https://127.0.0.1:{settings.edge_port}/healthz")
            with pytest.raises(httpx.HTTPError):
                await http.get(f"http://127.0.0.1:{settings.edge_port}/healthz")


async def test_copies_share_the_port(fabric_server):
    settings = placed(fabric_server)
    async with running(edge.build, settings) as first, running(edge.build, settings):
        await first.stop()
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{settings.edge_port}/healthz")).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\xff" * 64,
        b"GET /healthz HTTP/1.1\r\n" + b"x: " + b"y" * 40_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    ],
)
async def test_garbage_is_refused_and_the_next_one_served(fabric_server, sent):
    settings = placed(fabric_server)
    async with running(edge.build, settings):
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.edge_port)
        try:
            writer.write(sent)
            status = await asyncio.wait_for(reader.readline(), 10)
            assert status == b"" or int(status.split()[1]) in {400, 404, 413, 431}
        finally:
            writer.close()
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{settings.edge_port}/healthz")).status_code == 200


async def test_an_address_in_use_ends_the_start(fabric_server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = placed(fabric_server, edge_port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            async with running(edge.build, settings):
                pass


def test_the_edge_may_ask_and_nothing_else():
    """INVARIANT: what faces HTTP holds a credential that reaches no stream, no fact and no worker's command.

    Giving it a right under `$JS.API`, `weft.command` or `weft.broker` would break it.
    """
    edge_credential = CREDENTIALS["edge"]
    assert edge_credential.account == "EDGE"
    allowed = {
        "weft.edge.keys",
        "weft.edge.ssf",
        "weft.edge.status",
        "weft.edge.oauth",
        "weft.set.edge",
        "weft.health.*",
        "weft.egress.health",
    }
    assert set(edge_credential.permissions.publish) == allowed
    assert edge_credential.permissions.subscribe == ("weft.edge.fetch", "_INBOX_edge.>")
