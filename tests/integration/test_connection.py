"""The attested connection on a real server: renewed, rebuilt, refused, closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from weft.connection import Connection
from weft.errors import Unavailable
from weft.identity import Identity, WorkloadAPI
from weft.nkey import KeyPair
from weft.session import connect

from streams import subjects
from tests.support.fabric import FabricServer
from tests.support.signed import ADVISOR, TokenKey

INSTANCE = "i" + "a2" * 13
NAME = f"{INSTANCE}.88mph~com.agents.advisor"
WAIT_S = 6


class Issuer:
    """A Workload API in memory; what it does next is the test's."""

    def __init__(self, life_s: int = 300, instance: str | None = INSTANCE) -> None:
        self.audiences: list[str] = []
        self.life_s = life_s
        self.down = False
        self._claims = {"weft_instance": instance} if instance else {}

    async def __call__(self, audience: str) -> str:
        self.audiences.append(audience)
        if self.down:
            raise Unavailable("down")
        now = int(time.time())
        return TokenKey().sign({"sub": ADVISOR, "aud": [audience], "iat": now, "exp": now + self.life_s, **self._claims})


async def by_name(identity: Identity, options: dict[str, Any]) -> Client:
    """The stand-in for admission believes a name."""
    return await connect(identity, {**options, "token": f"{identity.kind} {identity.name}"})


@pytest.fixture
async def made(fabric_server: FabricServer) -> Any:
    """Makes connections, and closes them."""
    await (await fabric_server.outer("agent", NAME)).close()  # the stand-in runs from here on
    connections = []

    async def make(issuer: Issuer | KeyPair, **options: Any) -> Connection:
        options = {"kind": "agent", "connector": by_name, "trust_domain": "88mph.com"} | options
        connection = Connection([fabric_server.url], options.pop("kind"), issuer, **options)
        connections.append(connection)
        await connection.start(10)
        return connection

    yield make
    for connection in connections:
        await connection.close()


async def echoing(server: FabricServer, answer: Callable[[Msg], Awaitable[None]] | None = None) -> None:
    """Something that answers invocations."""

    async def echo(msg: Msg) -> None:
        await msg.respond(msg.data)

    gateway = await server.worker("gateway")
    await gateway.subscribe(subjects.INVOKE.filter, cb=answer or echo)
    await gateway.flush()


async def replaced(connection: Connection, first: Client) -> None:
    async with asyncio.timeout(WAIT_S):
        while connection.nc is first:  # noqa: ASYNC110 - there is no event for outsiders
            await asyncio.sleep(0.02)


async def test_it_knows_who_it_is_and_its_svid_names_its_key(made):
    issuer = Issuer()
    connection = await made(issuer)
    assert (connection.name, connection.instance, str(connection.spiffe_id)) == (NAME, INSTANCE, ADVISOR)
    assert issuer.audiences == [f"weft:88mph.com:{connection.key.public}"]
    assert connection.svid not in repr(connection.identity)


async def test_without_an_attested_instance_it_is_the_keys(made):
    connection = await made(Issuer(instance=None))
    assert connection.instance == f"k{connection.key.public[1:27].lower()}"


async def test_an_operator_is_its_key(made):
    key = KeyPair("U")
    connection = await made(key, kind="operator")
    assert (connection.name, connection.instance, connection.spiffe_id) == (key.public, None, None)


async def test_requests_are_answered(made, fabric_server):
    await echoing(fabric_server)
    connection = await made(Issuer())
    assert await connection.request(subjects.INVOKE.at(NAME), b"hello", 2) == b"hello"


async def test_a_closed_client_is_replaced_with_a_fresh_key_and_svid(made, fabric_server):
    """INVARIANT: no two clients of a connection share a key, and an SVID is shown on the connection it was fetched for alone.

    Reconnecting with what is at hand would break it: what was cut could come back as it was.
    """
    await echoing(fabric_server)
    issuer = Issuer()
    connection = await made(issuer)
    first, key = connection.nc, connection.key.public
    await first.close()
    await replaced(connection, first)
    assert connection.key.public != key
    assert len(set(issuer.audiences)) == len(issuer.audiences) == 2
    assert await connection.request(subjects.INVOKE.at(NAME), b"again", 2) == b"again"


async def test_it_is_renewed_before_its_svid_expires(made):
    connection = await made(Issuer(life_s=2))
    first, seen = connection.nc, []

    async def on_rebuilt(nc: Client) -> None:
        seen.append(first.is_connected and nc.is_connected)  # the old one ends after the new one has begun

    connection.on_rebuilt(on_rebuilt)
    await replaced(connection, first)
    assert seen == [True]


async def test_a_request_in_flight_survives_a_renewal(made, fabric_server):
    answer, asked = asyncio.Event(), asyncio.Event()

    async def slow(msg: Msg) -> None:
        asked.set()
        await answer.wait()
        await msg.respond(b"late")

    await echoing(fabric_server, slow)
    connection = await made(Issuer())
    first = connection.nc
    request = asyncio.create_task(connection.request(subjects.INVOKE.at(NAME), b"", 5))
    await asked.wait()
    connection.renew()
    await replaced(connection, first)
    answer.set()
    assert await request == b"late"


async def test_subscriptions_survive(made, fabric_server):
    connection = await made(Issuer())
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def on_message(msg: Msg) -> None:
        got.put_nowait(msg.data)

    point = await made(Issuer(), kind="point")
    await point.subscribe(subjects.PUSH_TOOL.filter, on_message)
    first = point.nc
    await first.close()
    await replaced(point, first)
    await point.nc.flush()
    registry = await fabric_server.worker("registry")
    await registry.publish(subjects.PUSH_TOOL.at("x"), b"changed")
    async with asyncio.timeout(WAIT_S):
        assert await got.get() == b"changed"
    assert connection.nc is not point.nc


async def test_it_never_gives_up(made, fabric_server):
    issuer = Issuer()
    connection = await made(issuer)
    first = connection.nc
    issuer.down = True
    await first.close()
    async with asyncio.timeout(WAIT_S):
        while len(issuer.audiences) < 3:  # noqa: ASYNC110 - the issuer's own count
            await asyncio.sleep(0.02)
    with pytest.raises(nats.errors.Error):
        await connection.request(subjects.INVOKE.at(NAME), b"", 1)
    issuer.down = False
    await replaced(connection, first)


async def test_a_client_whose_followers_cannot_follow_is_not_taken(made):
    connection = await made(Issuer())
    first, failures = connection.nc, iter([True])

    async def on_rebuilt(_: Client) -> None:
        if next(failures, False):
            raise nats.errors.FlushTimeoutError

    connection.on_rebuilt(on_rebuilt)
    connection.renew()
    await replaced(connection, first)
    assert next(failures, False) is False


async def test_who_is_not_admitted_hears_so_within_the_deadline(fabric_server):
    await (await fabric_server.outer("agent", NAME)).close()

    async def nobody(identity: Identity, options: dict[str, Any]) -> Client:
        return await connect(identity, {**options, "token": "stranger x"})

    connection = Connection([fabric_server.url], "agent", Issuer(), trust_domain="88mph.com", connector=nobody)
    with pytest.raises(Unavailable):
        await connection.start(0.5)
    await connection.close()
    with pytest.raises(Unavailable):
        _ = connection.name


async def test_closing_leaves_nothing_running(fabric_server, made):
    before = asyncio.all_tasks()
    connection = await made(Issuer())
    first = connection.nc
    connection.renew()
    await replaced(connection, first)
    await connection.close()
    await asyncio.sleep(0.1)
    assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()


@pytest.mark.parametrize("server", ["nats://fabric.internal:4222", "ws://10.0.0.1", "fabric.internal"])
def test_what_is_neither_loopback_nor_tls_is_refused(server):
    """INVARIANT: an SVID never crosses a network in the clear.

    Connecting to whatever URL the environment holds would break it.
    """
    with pytest.raises(ValueError, match="tls"):
        Connection([server], "agent", Issuer(), trust_domain="88mph.com")


async def test_a_workload_api_that_is_not_there_gives_no_svid(tmp_path):
    with pytest.raises(Unavailable):
        await WorkloadAPI(f"unix://{tmp_path}/none.sock", timeout_s=0.5)("weft:88mph.com:U")


def test_tls_and_loopback_are_accepted():
    Connection(["tls://fabric.internal:4222", "nats://127.0.0.1:4222", "nats://[::1]:4222"], "agent", Issuer(), trust_domain="88mph.com")
