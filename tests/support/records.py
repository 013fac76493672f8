"""RECORD in memory: sequences, ids known before, batches whole or not at all, and what a test wants to go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.bus import Message, PubAck, PublishConflict, PublishFailed


@dataclass
class FakeRecordStream:
    """The part of `streams.bus.Publisher` that the recorder calls.  An acknowledgement waits for `gate` where one is set."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)
    calls: list[tuple[str, int]] = field(default_factory=list)  # ("single" | "batch", how many)
    full: bool = False
    gate: asyncio.Event | None = None
    lost: int = 0  # so many acknowledgements get lost: stored, but PublishFailed
    _ids: dict[str, int] = field(default_factory=dict)

    async def publish(self, stream: str, subject: str, body: bytes, *, msg_id: str, deadline_s: float) -> PubAck:
        self.calls.append(("single", 1))
        await self._open(deadline_s)
        known = self._ids.get(msg_id)
        if known is not None:
            return PubAck(stream, known, duplicate=True)
        seq = self._store(subject, body, msg_id)
        self._maybe_lose()
        return PubAck(stream, seq)

    async def publish_batch(self, stream: str, messages: Sequence[Message], *, deadline_s: float) -> PubAck:
        self.calls.append(("batch", len(messages)))
        await self._open(deadline_s)
        if len({m.msg_id for m in messages} - self._ids.keys()) < len(messages):
            raise PublishConflict("an id of the batch is known", duplicate=True)
        seqs = [self._store(m.subject, m.body, m.msg_id) for m in messages]
        self._maybe_lose()
        return PubAck(stream, seqs[-1])

    async def _open(self, deadline_s: float) -> None:
        if self.full:
            raise PublishFailed("the stream refuses it, error 10077")
        if self.gate is not None:
            try:
                async with asyncio.timeout(deadline_s):
                    await self.gate.wait()
            except TimeoutError:
                raise PublishFailed("no acknowledgement") from None
        await asyncio.sleep(0)

    def _store(self, subject: str, body: bytes, msg_id: str) -> int:
        self.messages.append((subject, body))
        self._ids[msg_id] = len(self.messages)
        return len(self.messages)

    def _maybe_lose(self) -> None:
        if self.lost:
            self.lost -= 1
            raise PublishFailed("no acknowledgement within the deadline")
