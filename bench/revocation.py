"""From a committed entry to the last of 200 guards in one process that refuses, beside a bare republished message to 200 subscribers.

The guards are whole: chain, signature, view and acknowledgement, on a connection each; the revocation writer is a process of its own.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RePublish, StreamConfig
from weft.follower import RevocationFollower
from weft.point import ACK
from weft.wire import HEADERS
from weft.wire import event as wire_event

from bench.figures import Figure, percentile
from bench.yardstick import bare_server
from schemas import revocation
from schemas.revocation import ORDER, Order, Ordered
from streams import subjects
from streams.bus import event, parse
from tests.support import fabric
from tests.support.workers import process

WRITER = Path(__file__).parent / "programs" / "bare_writer.py"
GUARDS = 200
ROUNDS = 60
ROUND_S = 10.0
ENTRY_BYTES = 700  # about what an entry's message is


class Laggard:
    """When the last of all has heard."""

    def __init__(self, heads: int) -> None:
        self._heads = heads
        self._left = heads
        self._all = asyncio.Event()
        self.at = 0.0

    def heard(self) -> None:
        """One more."""
        self._left -= 1
        if not self._left:
            self.at = time.time()
            self._all.set()

    async def last(self) -> float:
        """The moment of the last; ready for the next round."""
        async with asyncio.timeout(ROUND_S):
            await self._all.wait()
        self._all.clear()
        self._left = self._heads
        return self.at


async def figures() -> list[Figure]:
    """p50 and p99, each beside the bare message."""
    bare, ours = await _bare(), await _guards()
    return [
        Figure.beside(f"revocation p{round(share * 100)}", percentile(ours, share), "ms", percentile(bare, share)) for share in (0.5, 0.99)
    ]


async def _bare() -> list[float]:
    laggard, taken = Laggard(GUARDS), []

    async def on_message(_: Msg) -> None:
        laggard.heard()

    with bare_server() as url:
        async with AsyncExitStack() as stack:
            writer = await _connect(stack, url)
            js = writer.jetstream()
            await js.add_stream(StreamConfig(name="BARE", subjects=["bare.log"], republish=RePublish(src="bare.log", dest="bare.push")))
            for _ in range(GUARDS):
                nc = await _connect(stack, url)
                await nc.subscribe("bare.push", cb=on_message)
                await nc.flush()
            commit = await _bare_writer(stack, url)
            for _ in range(ROUNDS):
                committed = await commit()
                taken.append(max(0.0, await laggard.last() - committed) * 1e3)
    return sorted(taken)


async def _bare_writer(stack: AsyncExitStack, url: str) -> Callable[[], Awaitable[float]]:
    """Commits a message from another process, as our writer does; returns when it was acknowledged there."""
    command = [sys.executable, str(WRITER), url, "bare.log", str(ENTRY_BYTES)]
    writer = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    stack.push_async_callback(writer.wait)
    stack.callback(writer.terminate)
    into, out = writer.stdin, writer.stdout
    if into is None or out is None:
        raise RuntimeError("the writer has no pipes")

    async def commit() -> float:
        into.write(b"\n")
        async with asyncio.timeout(ROUND_S):
            return float(await out.readline())

    return commit


async def _connect(stack: AsyncExitStack, url: str) -> Client:
    nc = await nats.connect(url)
    stack.push_async_callback(nc.close)
    return nc


async def _guards() -> list[float]:
    taken = []
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
        server = await fabric.start(Path(folder) / "state")
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(process("revocation", server.settings))
                laggard = Laggard(GUARDS)
                for _ in range(GUARDS):
                    await _guard(stack, server, laggard)
                signals = await server.worker("signals")
                for _ in range(ROUNDS):
                    committed = await _revoke(signals)
                    taken.append(max(0.0, await laggard.last() - committed) * 1e3)
        finally:
            await server.close()
    return sorted(taken)


async def _guard(stack: AsyncExitStack, server: fabric.FabricServer, laggard: Laggard) -> None:
    """An enforcement point's view, on a connection of its own, acknowledging."""
    name = f"i{uuid4().hex.translate(str.maketrans('0189', 'wxyz'))[:26]}.88mph~com.tools.bench"
    nc = await server.outer("point", name)
    key = server.keys["revocation"]
    public = key.private.public_key().public_bytes_raw()  # type: ignore[union-attr]  # a guard has read it, and looks it up

    async def acknowledge(counter: int, epoch: int) -> None:
        body = wire_event("org.weft.point.acked.v1", {"n": counter, "epoch": epoch, "at": time.time()}, source="/bench")
        await nc.publish(f"{ACK}.{name}", body, headers=HEADERS)

    follower = RevocationFollower(
        nc,
        lambda kid: public if kid == key.kid else None,
        on_entry=laggard.heard,
        on_unknown_key=lambda: None,
        send_ack=acknowledge,
    )
    await follower.start()
    stack.push_async_callback(follower.stop)


async def _revoke(signals: Client) -> float:
    """An entry, as `signals` orders it; when it was committed."""
    order = Order(id=uuid4().hex, targets=(("token", uuid4().hex),), cause="bench", by="bench")
    answer = await signals.request(subjects.ORDER.at(), event(ORDER, order, source="/bench"), timeout=ROUND_S)
    committed = parse(Ordered, answer.data)
    if committed.type != revocation.COMMITTED:
        raise RuntimeError("the entry was not committed")
    return committed.data.at
