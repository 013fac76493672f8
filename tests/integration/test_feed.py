"""The follower of a republished stream on a real server: order, holes, what has aged away, reconnects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from weft.feed import BATCH, RepublishedFeed

from streams import subjects
from tests.support.fabric import FabricServer

WAIT_S = 5


class Lossy:
    """A client whose messages get lost on the way where `loses` says so; all else is the client's own."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self.loses: Callable[[Msg], bool] = lambda _: False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nc, name)

    async def subscribe(self, subject: str, cb: Any) -> Any:
        async def unless_lost(msg: Msg) -> None:
            if not self.loses(msg):
                await cb(msg)

        return await self._nc.subscribe(subject, cb=unless_lost)


class Writing:
    """The stream's writer, and a receiver that keeps what it is told."""

    def __init__(self, server: FabricServer, nc: Client) -> None:
        self._server = server
        self._nc = nc
        self.got: list[tuple[int, str, bytes]] = []
        self.reader: Lossy

    async def put(self, body: bytes, ttl_s: int | None = None) -> int:
        headers = {"Nats-TTL": str(ttl_s)} if ttl_s else None
        return (await self._nc.jetstream().publish(subjects.REVOCATION_BEACON.at(), body, headers=headers, timeout=5)).seq

    def feed(self, **options: Any) -> RepublishedFeed:
        def on_message(seq: int, subject: str, body: bytes) -> None:
            self.got.append((seq, subject, body))

        reader: Any = self.reader
        return RepublishedFeed(
            reader,
            "REVOCATIONS",
            subjects.REVOCATION.filter,
            subjects.PUSH_REVOCATION.filter,
            options.pop("on_message", on_message),
            **options,
        )

    @property
    def sequences(self) -> list[int]:
        return [seq for seq, _, _ in self.got]


@pytest.fixture
async def stream(fabric_server: FabricServer) -> Writing:
    writing = Writing(fabric_server, await fabric_server.worker("revocation", allow_reconnect=True, max_reconnect_attempts=-1))
    writing.reader = Lossy(await fabric_server.worker("gateway"))
    return writing


async def started(feed: RepublishedFeed) -> RepublishedFeed:
    async with asyncio.timeout(WAIT_S):
        await feed.start()
    return feed


async def test_it_loads_what_the_stream_holds_and_follows(stream):
    for n in range(3):
        await stream.put(b"%d" % n)
    feed = await started(stream.feed())
    last = await stream.put(b"3")
    assert await feed.wait_for(last, WAIT_S)
    assert stream.got == [(n + 1, subjects.REVOCATION_BEACON.at(), b"%d" % n) for n in range(4)]
    await feed.stop()


async def test_an_empty_stream_is_loaded_at_once(stream):
    feed = await started(stream.feed())
    assert (feed.sequence, stream.got) == (0, [])
    await feed.stop()


async def test_it_goes_on_where_it_is_told(stream):
    for n in range(5):
        await stream.put(b"%d" % n)
    feed = await started(stream.feed(start_seq=4))
    assert stream.sequences == [4, 5]
    await feed.stop()


async def test_more_than_a_batch(stream):
    nc = stream._nc
    for n in range(BATCH + 300):
        await nc.publish(subjects.REVOCATION_BEACON.at(), b"%d" % n)
    last = await stream.put(b"last")
    feed = await started(stream.feed())
    assert stream.sequences == list(range(1, last + 1))
    await feed.stop()


async def test_a_lost_message_is_fetched_when_a_later_one_shows_the_hole(stream):
    """INVARIANT: every message of the stream is delivered, once, in the stream's order, whatever of the live ones is lost.

    Applying what arrives, without looking at its sequence, would break it.
    """
    feed = await started(stream.feed())
    stream.reader.loses = lambda msg: msg.data in (b"1", b"2")
    for n in range(5):
        last = await stream.put(b"%d" % n)
    stream.reader.loses = lambda _: False
    assert await feed.wait_for(last, WAIT_S)
    assert [body for _, _, body in stream.got] == [b"0", b"1", b"2", b"3", b"4"]
    assert feed.gaps >= 1
    await feed.stop()


async def test_whoever_waits_for_a_lost_message_gets_it(stream):
    feed = await started(stream.feed())
    stream.reader.loses = lambda msg: msg.subject.startswith("weft.push.")
    last = await stream.put(b"0")
    assert await feed.wait_for(last, WAIT_S)
    await feed.stop()


async def test_a_lost_answer_of_a_batch_skips_nothing(stream):
    """INVARIANT: a sequence is skipped only when the stream no longer holds it.

    Believing that a batch is whole because it ended would break it.
    """
    for n in range(4):
        await stream.put(b"%d" % n)
    lost = iter([True])
    stream.reader.loses = lambda msg: msg.data == b"2" and next(lost, False)
    feed = await started(stream.feed())
    assert stream.sequences == [1, 2, 3, 4]
    assert feed.catch_ups == 2
    await feed.stop()


async def test_what_has_aged_away_is_passed_over(stream):
    feed = await started(stream.feed())
    await stream.put(b"first")
    stream.reader.loses = lambda msg: msg.subject.startswith("weft.push.")
    await stream.put(b"gone", ttl_s=1)
    await stream.put(b"gone too", ttl_s=1)
    await asyncio.sleep(2.2)  # the server's own time: TTLs are whole seconds
    stream.reader.loses = lambda _: False
    last = await stream.put(b"last")
    assert await feed.wait_for(last, WAIT_S)
    assert [body for _, _, body in stream.got] == [b"first", b"last"]
    await feed.stop()


async def test_a_receiver_that_fails_is_told_again(stream):
    """INVARIANT: a message whose receiver failed is not passed over: the feed stands still until it is taken.

    Advancing before the receiver returned would break it.
    """
    failures = iter([True, True])
    got: list[int] = []

    def on_message(seq: int, _subject: str, _body: bytes) -> None:
        if seq == 2 and next(failures, False):
            raise RuntimeError
        got.append(seq)

    feed = await started(stream.feed(on_message=on_message))
    for n in range(3):
        last = await stream.put(b"%d" % n)
    assert await feed.wait_for(last, WAIT_S)
    assert got == [1, 2, 3]
    await feed.stop()


async def test_waiting_has_a_deadline(stream):
    feed = await started(stream.feed())
    before = time.monotonic()
    assert not await feed.wait_for(7, 0.1)
    assert time.monotonic() - before < 1
    await feed.stop()


async def test_it_moves_to_another_client(stream, fabric_server):
    feed = await started(stream.feed())
    await stream.put(b"0")
    await stream.reader.close()
    await stream.put(b"1")  # while it had none
    await feed.attach(await fabric_server.worker("gateway"))
    last = await stream.put(b"2")
    assert await feed.wait_for(last, WAIT_S)
    assert stream.sequences == [1, 2, 3]
    await feed.stop()


async def test_a_restart_of_the_server_loses_nothing(stream, fabric_server):
    """INVARIANT: what was committed while a receiver was cut off is delivered once it is back.

    Relying on the client's own resubscription, which replays nothing, would break it.
    """
    back = asyncio.Event()

    async def reconnected() -> None:
        back.set()

    options = {"allow_reconnect": True, "max_reconnect_attempts": -1, "reconnect_time_wait": 0.05, "reconnected_cb": reconnected}
    stream.reader = Lossy(await fabric_server.worker("gateway", **options))
    feed = await started(stream.feed())
    await stream.put(b"0")
    stream.reader.loses = lambda msg: msg.subject.startswith("weft.push.")  # it is cut off first
    last = await stream.put(b"1")
    await fabric_server.server.kill()
    await fabric_server.server.start()
    async with asyncio.timeout(WAIT_S):
        await back.wait()
    feed.catch_up()
    assert await feed.wait_for(last, WAIT_S)
    assert stream.sequences == [1, 2]
    await feed.stop()


async def test_nothing_of_it_is_left_running(stream):
    before = asyncio.all_tasks()
    feed = await started(stream.feed())
    await feed.stop()
    assert {task for task in asyncio.all_tasks() - before if task.get_name().startswith("feed")} == set()
