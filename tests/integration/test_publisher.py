"""Publishing into a stream of a real server: what an acknowledgement, a retry and a conflict are worth."""

from __future__ import annotations

import asyncio
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from structlog.testing import capture_logs

from schemas.facts import Fact, Tool
from streams.bus import Outgoing, PublishConflict, Publisher, PublishFailed, connect_options, fabric_broker, parse
from streams.bus import client as connection_of
from streams.facts_keys import place_of
from streams.publisher import DUPLICATE_ON_FIRST_ATTEMPT, MAX_BATCH
from tests.support.fabric import FabricServer, settled

SUBJECT = "weft.record.gateway.x"


class Lossy(Client):
    """A connection that loses the acknowledgement of the next publish, once; the message itself arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0

    async def request(self, subject: str, *args: Any, **options: Any) -> Msg:
        answer = await super().request(subject, *args, **options)
        if self.lost == 0 and not subject.startswith("$JS.API."):
            self.lost += 1
            raise nats.errors.TimeoutError
        return answer


async def _lossy(server: FabricServer, worker: str) -> Lossy:
    nc = Lossy()
    await nc.connect(**connect_options(worker, server.settings))
    return nc


async def _stored(server: FabricServer, stream: str = "RECORD") -> int:
    nc = await server.worker("topology")
    return (await nc.jetstream().stream_info(stream)).state.messages


async def test_publishing_outlasts_the_server(fabric_server: FabricServer) -> None:
    """INVARIANT: what was acknowledged before or after a server is killed and started again is stored, each id once.

    A retry under a fresh id, a client that gives up reconnecting, or a server that acknowledges before it syncs would break it.
    """
    nc = await fabric_server.worker("gateway", allow_reconnect=True)
    publisher, killed = Publisher(nc), asyncio.Event()

    async def publish(n: int) -> int:
        ack = await publisher.publish("RECORD", SUBJECT, b"{}", msg_id=f"gateway:{n}")
        if n == 100:
            killed.set()
        return ack.seq

    publishing = asyncio.gather(*(publish(n) for n in range(400)))
    await killed.wait()
    await fabric_server.server.kill()
    await fabric_server.server.start()
    with capture_logs() as logs:
        sequences = [*await publishing, *[await publish(n) for n in range(400, 420)]]
    assert DUPLICATE_ON_FIRST_ATTEMPT not in {entry["event"] for entry in logs}
    assert sorted(sequences) == list(range(1, 421))
    assert await _stored(fabric_server) == 420


async def test_an_id_used_before_is_an_alarm(fabric_server: FabricServer) -> None:
    """INVARIANT: an id that somebody else used before is told and logged, also where the connection was made anew meanwhile.

    Taking every acknowledgement for one's own would break it: an event whose id was planted is never stored.
    """
    first, second = [Publisher(await fabric_server.worker(worker)) for worker in ("gateway", "broker")]
    planted = await first.publish("RECORD", SUBJECT, b"planted", msg_id="broker:1")
    with capture_logs() as logs:
        ack = await second.publish("RECORD", "weft.record.broker.x", b"real", msg_id="broker:1")
    assert (ack.duplicate, ack.attempts, ack.seq) == (True, 1, planted.seq)
    assert [entry["event"] for entry in logs] == [DUPLICATE_ON_FIRST_ATTEMPT]


class Repeating(Client):
    """A connection that broke: nats-py sends again what it held, so that the stream hears of the same message twice."""

    async def request(self, subject: str, *args: Any, **options: Any) -> Msg:
        if not subject.startswith("$JS.API."):
            await super().request(subject, *args, **options)
            self.stats["reconnects"] += self.counts
        return await super().request(subject, *args, **options)

    counts = 0


async def _repeating(server: FabricServer, *, reconnected: bool) -> Repeating:
    nc = Repeating()
    nc.counts = int(reconnected)
    await nc.connect(**connect_options("gateway", server.settings))
    return nc


async def test_what_was_sent_again_over_a_new_connection_is_no_alarm(fabric_server: FabricServer) -> None:
    """INVARIANT: an alarm of a planted id is true: our own message, sent again by the client library, is none, read back or not."""
    with capture_logs() as logs:
        nc = await _repeating(fabric_server, reconnected=False)
        ack = await Publisher(nc).publish("RECORD", SUBJECT, b"{}", msg_id="gateway:1")
        await nc.close()
    assert (ack.duplicate, ack.attempts, logs) == (True, 1, [])


@pytest.mark.parametrize("reconnected", [True, False])
async def test_a_later_message_of_ours_hides_whose_the_first_is(fabric_server: FabricServer, reconnected: bool) -> None:
    """Then a new connection speaks for us, and without one nothing does."""
    publisher = Publisher(await fabric_server.worker("gateway"))
    first = await publisher.publish("RECORD", SUBJECT, b"first", msg_id="gateway:1")
    await publisher.publish("RECORD", SUBJECT, b"later", msg_id="gateway:2")
    nc = await _repeating(fabric_server, reconnected=reconnected)
    with capture_logs() as logs:
        ack = await Publisher(nc).publish("RECORD", SUBJECT, b"first", msg_id="gateway:1")
    assert (ack.duplicate, ack.seq) == (True, first.seq)
    assert [entry["event"] for entry in logs] == ([] if reconnected else [DUPLICATE_ON_FIRST_ATTEMPT])
    await nc.close()


async def test_a_lost_acknowledgement_is_no_alarm(fabric_server: FabricServer) -> None:
    nc = await _lossy(fabric_server, "gateway")
    with capture_logs() as logs:
        ack = await Publisher(nc).publish("RECORD", SUBJECT, b"{}", msg_id="gateway:1")
    assert (ack.duplicate, ack.attempts, ack.seq) == (True, 2, 1)
    assert logs == []
    await nc.close()


@pytest.mark.parametrize("expected", ["expected_last_subject_seq", "expected_last_seq"])
async def test_a_retry_does_not_conflict_with_itself(fabric_server: FabricServer, expected: str) -> None:
    """INVARIANT: a message that is stored under our id is ours, though its retry no longer meets its expectation.

    Believing the second answer would break it: the server checks expectations before ids.
    """
    nc, held = await _lossy(fabric_server, "registry"), await _stored(fabric_server, "FACTS")
    expectation: dict[str, Any] = {expected: held if expected == "expected_last_seq" else 0}
    ack = await Publisher(nc).publish("FACTS", "weft.fact.tool.x", b"{}", msg_id="registry:1", **expectation)
    assert (ack.seq, ack.duplicate, ack.attempts) == (held + 1, True, 2)
    await nc.close()


async def test_a_retried_batch_does_not_conflict_with_itself(fabric_server: FabricServer) -> None:
    nc, held = await _lossy(fabric_server, "registry"), await _stored(fabric_server, "FACTS")
    batch = [Outgoing(f"weft.fact.tool.t{n}", b"{}", f"registry:{n}", expected_last_subject_seq=0) for n in range(3)]
    ack = await Publisher(nc).publish_batch("FACTS", batch)
    assert (ack.seq, ack.duplicate, ack.attempts) == (held + 3, True, 2)
    assert await _stored(fabric_server, "FACTS") == held + 3
    await nc.close()


async def test_another_writer_is_a_conflict(fabric_server: FabricServer) -> None:
    """INVARIANT: of two writers that saw the same revision one writes.

    Retrying without the expectation would break it.
    """
    one, other = [Publisher(await fabric_server.worker("registry")) for _ in range(2)]
    subject = "weft.fact.tool.x"
    ack = await one.publish("FACTS", subject, b"1", msg_id="registry:1", expected_last_subject_seq=0)
    with pytest.raises(PublishConflict):
        await other.publish("FACTS", subject, b"2", msg_id="registry:2", expected_last_subject_seq=0)
    with pytest.raises(PublishConflict):
        await other.publish("FACTS", subject, b"2", msg_id="registry:2", expected_last_seq=ack.seq - 1)
    assert (await other.publish("FACTS", subject, b"2", msg_id="registry:2", expected_last_subject_seq=ack.seq)).seq == ack.seq + 1


async def test_a_lossy_connection_does_not_hide_another_writer(fabric_server: FabricServer) -> None:
    """A lost *refusal* stays a refusal on the second attempt."""
    other = Publisher(await fabric_server.worker("registry"))
    await other.publish("FACTS", "weft.fact.tool.x", b"1", msg_id="registry:1")
    nc = await _lossy(fabric_server, "registry")
    with pytest.raises(PublishConflict) as refused:
        await Publisher(nc).publish("FACTS", "weft.fact.tool.x", b"2", msg_id="registry:2", expected_last_subject_seq=0)
    assert refused.value.attempts == 2
    await nc.close()


async def test_a_batch_is_stored_whole_or_not_at_all(fabric_server: FabricServer) -> None:
    """INVARIANT: a batch of which one member is refused stores none.

    Publishing its members one by one would break it.
    """
    publisher, held = Publisher(await fabric_server.worker("registry")), await _stored(fabric_server, "FACTS")
    batch = [Outgoing(f"weft.fact.tool.t{n}", b"{}", f"a:{n}") for n in range(3)]
    assert (await publisher.publish_batch("FACTS", batch)).seq == held + 3
    duplicate = [Outgoing(f"weft.fact.tool.u{n}", b"{}", message_id) for n, message_id in enumerate(("b:0", "a:1", "b:2"))]
    with pytest.raises(PublishConflict) as refused:
        await publisher.publish_batch("FACTS", duplicate)
    assert refused.value.duplicate
    behind = [Outgoing("weft.fact.tool.v", b"{}", "c:0"), Outgoing("weft.fact.tool.t1", b"{}", "c:1", expected_last_subject_seq=1)]
    with pytest.raises(PublishConflict) as refused:
        await publisher.publish_batch("FACTS", behind)
    assert not refused.value.duplicate
    assert await _stored(fabric_server, "FACTS") == held + 3


async def test_a_batch_may_be_guarded_by_what_it_depends_on(fabric_server: FabricServer) -> None:
    """An expectation on a filter: no policy changed since the writer looked."""
    publisher = Publisher(await fabric_server.worker("registry"))

    def guarded(seq: int, message_id: str) -> list[Outgoing]:
        return [
            Outgoing("weft.fact.tool.x", b"{}", f"{message_id}:0", expected_last_subject_seq=seq, expected_subject="weft.fact.policy.>"),
            Outgoing("weft.fact.tool.y", b"{}", f"{message_id}:1"),
        ]

    await publisher.publish_batch("FACTS", guarded(0, "a"))
    policy = await publisher.publish("FACTS", "weft.fact.policy.p", b"{}", msg_id="p")
    with pytest.raises(PublishConflict):
        await publisher.publish_batch("FACTS", guarded(0, "b"))
    await publisher.publish_batch("FACTS", guarded(policy.seq, "b"))


@pytest.mark.parametrize("count", [1, 2, MAX_BATCH])
async def test_batches_of_every_size(fabric_server: FabricServer, count: int) -> None:
    publisher = Publisher(await fabric_server.worker("gateway"))
    ack = await publisher.publish_batch("RECORD", [Outgoing(SUBJECT, b"x" * 1024, f"gateway:{n}") for n in range(count)])
    assert ack.seq == count


@pytest.mark.parametrize("count", [0, MAX_BATCH + 1])
async def test_batches_of_no_size(fabric_server: FabricServer, count: int) -> None:
    publisher = Publisher(await fabric_server.worker("gateway"))
    with pytest.raises(PublishFailed):
        await publisher.publish_batch("RECORD", [Outgoing(SUBJECT, b"", f"gateway:{n}") for n in range(count)])


@pytest.mark.parametrize(
    ("stream", "subject", "options"),
    [
        ("RECORD", "weft.record.gateway.x", {"ttl_s": 60}),  # a record that vanishes by itself
        ("RECORD", "weft.record.broker.x", {"deadline_s": 0.3}),  # another's subject
        ("RECORD", "weft.broker.mint", {"deadline_s": 0.3}),  # no stream
    ],
)
async def test_what_a_stream_does_not_take_fails(fabric_server: FabricServer, stream: str, subject: str, options: dict[str, Any]) -> None:
    """INVARIANT: without the stream's acknowledgement nothing is called stored.

    A core publish, which returns as soon as the bytes are handed over, would break it.
    """
    publisher = Publisher(await fabric_server.worker("gateway"))
    with pytest.raises(PublishFailed):
        await publisher.publish(stream, subject, b"{}", msg_id="gateway:1", **options)
    assert await _stored(fabric_server) == 0


async def test_another_stream_than_meant_is_a_conflict(fabric_server: FabricServer) -> None:
    publisher = Publisher(await fabric_server.worker("signals"))
    with pytest.raises(PublishConflict):
        await publisher.publish("RECORD", "weft.signal.x", b"{}", msg_id="signals:1")
    assert await _stored(fabric_server, "SIGNALS") == 0


async def test_a_closed_connection_fails_at_once(fabric_server: FabricServer) -> None:
    nc = await fabric_server.worker("gateway")
    await nc.close()
    with pytest.raises(PublishFailed):
        async with asyncio.timeout(1):
            await Publisher(nc).publish("RECORD", SUBJECT, b"{}", msg_id="gateway:1")


async def test_a_worker_connects_through_faststream(fabric_server: FabricServer) -> None:
    """The broker of a worker: its own credential, its own inbox, no retry of a refused credential."""
    broker = fabric_broker("gateway", fabric_server.settings)
    with pytest.raises(RuntimeError):
        connection_of(broker)
    await broker.connect()
    nc = connection_of(broker)
    assert nc.new_inbox().startswith("_INBOX_gateway.")
    assert (await Publisher(nc).publish("RECORD", SUBJECT, b"{}", msg_id="gateway:1")).seq == 1
    await broker.stop()


async def test_facts_that_tests_put_are_facts(fabric_server: FabricServer) -> None:
    """The fixture's own promise: bodies under their own keys, acknowledged."""
    tool = Tool(
        name="refunds",
        owner="payments",
        workload="spiffe://88mph.com/tools/refunds",
        endpoint="https://refunds.88mph.com",
        resource="https://refunds.88mph.com",
        actions=("refund",),
        purposes=("support",),
    )
    gateway = await fabric_server.worker("gateway")
    pushed = await gateway.subscribe("weft.push.fact.>")
    await settled(gateway)
    ack = await fabric_server.put_facts(tool)
    message = await pushed.next_msg(timeout=2)
    assert (message.headers or {})["Nats-Sequence"] == str(ack.seq)
    assert place_of((message.headers or {})["Nats-Subject"]) == ("tool", "refunds")
    assert parse(Fact, message.data).data.body == tool
