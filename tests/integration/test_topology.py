"""The streams as they stand on a real server: what holds the truth, and what nobody can do to it."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nats.js.errors import APIError

from config.settings import Settings
from streams import operator, topology
from streams.bus import Publisher, PublishFailed, fabric_broker
from streams.secretfile import private_folder
from streams.server import Server
from streams.serverconf import Cluster, Node, TLSFiles, render
from tests.support.fabric import FabricServer, fabric_key, start
from workers.supervisor.certificates import Authority, Place

STREAMS = ("FACTS", "SIGNALS", "REVOCATIONS", "RECORD", "CLAIMS", "OUTGOING")


async def _monitor(server: Server, path: str) -> dict[str, Any]:
    def get() -> dict[str, Any]:
        with urllib.request.urlopen(server.monitor + path, timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    return await asyncio.to_thread(get)


async def test_acknowledged_means_on_disk(fabric_server: FabricServer) -> None:
    """INVARIANT: the running server syncs before it acknowledges, for every stream.

    The default (two minutes: measured, 3,000 of 3,001 acknowledged messages lost in a power cut) would break it, as would
    `persist_mode: async` of one stream, which cancels it silently.
    """
    config = (await _monitor(fabric_server.server, "/jsz"))["config"]
    assert config["sync_always"] is True
    js = (await fabric_server.worker("topology")).jetstream()
    for stream in STREAMS:
        held = (await js.stream_info(stream)).config
        assert (str(held.storage), held.persist_mode) in {("file", None), ("file", "default")}, stream


async def test_the_server_is_bounded(fabric_server: FabricServer) -> None:
    found = await _monitor(fabric_server.server, "/varz")
    assert found["max_payload"] == 262_144
    assert found["max_pending"] == 8_388_608
    assert found["auth_timeout"] == 2
    assert found["write_deadline"] == 2_000_000_000
    assert found["host"] == "127.0.0.1"
    assert found["http_host"] == "127.0.0.1"


async def test_streams_are_what_they_must_be(fabric_server: FabricServer) -> None:
    """INVARIANT: no message of a stream is deleted, rolled up, scheduled or pushed out by a newer one.

    OUTGOING is no truth but a queue: what its receiver has is removed from it, and what became of it is on RECORD.
    A KV bucket, `discard: old`, or a stream created by a client library's defaults would break it.
    """
    js = (await fabric_server.worker("topology")).jetstream()
    for stream in STREAMS:
        held = (await js.stream_info(stream)).config
        assert (held.deny_delete, held.deny_purge) == (True, stream != "OUTGOING"), stream
        assert str(held.discard) == "new", stream
        assert not held.allow_rollup_hdrs, stream
        assert not held.allow_msg_schedules, stream
        assert held.allow_direct, stream
        assert bool(held.allow_msg_ttl) == (stream in ("REVOCATIONS", "CLAIMS")), stream
        assert bool(held.max_age) == (stream in ("REVOCATIONS", "CLAIMS", "OUTGOING")), stream
        assert str(held.retention) == ("workqueue" if stream == "OUTGOING" else "limits"), stream
    assert {name for name in STREAMS if (await js.stream_info(name)).config.allow_atomic} == {"FACTS", "RECORD"}


async def test_not_even_fabrics_own_key_deletes_a_message(fabric_server: FabricServer) -> None:
    """INVARIANT: the truth has no eraser: the server refuses, whatever the credential.

    Leaving out `deny_delete` or `deny_purge` would break it.
    """
    js = (await fabric_server.worker("topology", **fabric_key(fabric_server.settings))).jetstream()
    for erase in (js.purge_stream("FACTS"), js.delete_msg("FACTS", 1)):
        with pytest.raises(APIError):
            await erase


async def test_applying_again_changes_nothing(fabric_server: FabricServer) -> None:
    js = (await fabric_server.worker("topology")).jetstream()
    before = [await js.stream_info(stream) for stream in STREAMS]
    await topology.apply(js, 1)
    after = [await js.stream_info(stream) for stream in STREAMS]
    assert [held.config for held in before] == [held.config for held in after]
    assert [held.state for held in before] == [held.state for held in after]
    assert (await js.consumer_info("FACTS", "revocation")).config.filter_subject == "weft.fact.posture.>"


@pytest.mark.parametrize(
    "change",
    [
        {"subjects": ["weft.fact.>", "weft.other.>"]},
        {"allow_direct": False},
        {"discard": "old"},
        {"allow_rollup_hdrs": True, "deny_purge": False},
    ],
)
async def test_a_stream_that_differs_is_refused(fabric_server: FabricServer, change: dict[str, Any]) -> None:
    """INVARIANT: what decides whether a stream can be believed is never rewritten, in neither direction.

    Updating whatever is found to what is wanted would break it: it hides that somebody changed it.
    """
    nc = await fabric_server.worker("topology", **fabric_key(fabric_server.settings))
    js = nc.jetstream()
    await js.delete_stream("FACTS")
    wanted = next(stream for stream in topology.stream_configs(1) if stream.name == "FACTS")
    await js.add_stream(replace(wanted, **change))
    with pytest.raises(topology.TopologyRefused, match="FACTS differs in"):
        await topology.apply(js, 1)
    assert (await js.stream_info("FACTS")).config.subjects == change.get("subjects", ["weft.fact.>"])


async def test_a_durable_that_differs_is_refused(fabric_server: FabricServer) -> None:
    js = (await fabric_server.worker("topology", **fabric_key(fabric_server.settings))).jetstream()
    await js.delete_consumer("FACTS", "revocation")
    config = topology.consumer_configs()["FACTS", "revocation"]
    await js.add_consumer("FACTS", config=config.evolve(filter_subject="weft.fact.tool.>"))
    with pytest.raises(topology.TopologyRefused, match="revocation of FACTS"):
        await topology.apply(js, 1)


async def test_a_claim_is_made_once(fabric_server: FabricServer) -> None:
    """INVARIANT: of two claims on one thing the server stores one.

    `discard: old`, or more than one message per subject, would break it even without the publisher's expectation.
    """
    publisher = Publisher(await fabric_server.worker("revocation"))
    assert (await publisher.publish("CLAIMS", "weft.claimed.x", b"first", msg_id="claim:1", ttl_s=60)).seq == 1
    with pytest.raises(PublishFailed):
        await publisher.publish("CLAIMS", "weft.claimed.x", b"second", msg_id="claim:2", ttl_s=60)


async def test_a_full_record_refuses(tmp_path: Path) -> None:
    """INVARIANT: a full RECORD refuses what is new and keeps what is old.

    `discard: old` would break it: the oldest records would vanish for the newest.
    """
    running = await start(tmp_path / "state", record_max_bytes=1_048_576)
    try:
        publisher = Publisher(await running.worker("gateway"))
        with pytest.raises(PublishFailed):
            await asyncio.gather(
                *(publisher.publish("RECORD", "weft.record.gateway.x", bytes(100_000), msg_id=f"gateway:{n}") for n in range(20))
            )
        js = (await running.worker("topology")).jetstream()
        assert (await js.stream_info("RECORD")).state.first_seq == 1
    finally:
        await running.close()


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[tuple[FabricServer, list[Server]]]:
    """Three servers that know each other, TLS on every listener, mutual on the routes; R3."""
    state = tmp_path / "state"
    tls = _certificates(tmp_path / "tls")
    settings = Settings(state=state, replicas=3, tls_ca=tls.ca)
    jwts = operator.create_operator(state, settings).jwts
    ports = _free_ports(3)
    routes = tuple(f"nats-route://127.0.0.1:{port}" for port in ports)
    async with AsyncExitStack() as stack:
        servers = []
        for n, port in enumerate(ports):
            conf = state / f"n{n}" / "server.conf"
            conf.parent.mkdir()
            conf.write_text(render(jwts, Node(f"n{n}", conf.parent / "js", tls=tls, cluster=Cluster("weft", port, routes))))
            servers.append(Server(conf))
        await asyncio.gather(*(server.start() for server in servers))
        for server in servers:
            stack.push_async_callback(server.stop)
        fabric = FabricServer(settings.model_copy(update={"servers": tuple(server.url for server in servers)}), servers[0])
        stack.push_async_callback(fabric.close)
        yield fabric, servers


def _certificates(folder: Path) -> TLSFiles:
    files = TLSFiles(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")
    authority = Authority("test")
    authority.issue(Place(private_folder(folder) / "cert.pem", files.key), ("127.0.0.1", "localhost"))
    files.ca.write_bytes(authority.pem)
    return files


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on now; the system hands them out in turn, so that they stay free for a while."""
    with ExitStack() as held:
        return [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


async def test_a_cluster_keeps_what_it_acknowledged_without_its_leader(three: tuple[FabricServer, list[Server]]) -> None:
    """INVARIANT: with three replicas, the loss of any one server loses nothing that was acknowledged.

    A stream with one replica, or a publisher that does not outlast an election, would break it.
    """
    fabric, servers = three
    admin = await fabric.worker("topology", allow_reconnect=True)
    await topology.apply(admin.jetstream(timeout=5), 3)
    publisher = Publisher(await fabric.worker("gateway", allow_reconnect=True, reconnect_time_wait=0.05))
    acks = [await publisher.publish("RECORD", "weft.record.gateway.x", b"{}", msg_id=f"gateway:{n}") for n in range(20)]
    info = await admin.jetstream(timeout=5).stream_info("RECORD")
    assert info.config.num_replicas == 3
    assert info.cluster is not None
    leader = next(server for n, server in enumerate(servers) if f"n{n}" == info.cluster.leader)
    await leader.kill()
    acks += [await publisher.publish("RECORD", "weft.record.gateway.x", b"{}", msg_id=f"gateway:{n}") for n in range(20, 40)]
    assert [ack.seq for ack in acks] == list(range(1, 41))


async def test_a_server_of_another_authority_is_not_believed(three: tuple[FabricServer, list[Server]], tmp_path: Path) -> None:
    """INVARIANT: a worker sends its credential to no server whose certificate does not chain to `tls_ca`.

    A context that does not verify would break it: whoever sits on the address would receive the requests.
    """
    fabric, servers = three
    stranger = _certificates(tmp_path / "stranger")
    broker = fabric_broker("gateway", fabric.settings.model_copy(update={"tls_ca": stranger.ca, "servers": (servers[0].url,)}))
    with pytest.raises(TimeoutError):  # it never gives up, and never connects
        async with asyncio.timeout(1):
            await broker.connect()
    assert (await _monitor(servers[0], "/connz?auth=true"))["num_connections"] == 0
