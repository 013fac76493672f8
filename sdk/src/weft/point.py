"""What a guard says to the fabric, and hears: attach, claim, use, signal, acknowledgement.  The messages of schemas/points.py.

The server attests who says it.  Every question has a deadline, and is asked again with the same id while that lasts: the answer is
the same one.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from typing import Any

import nats.errors

from weft import reading as read
from weft import wire
from weft.connection import Connection
from weft.digest import unb64u
from weft.errors import Malformed, Unavailable
from weft.records import Attachment, parse_attachment
from weft.snapshot import KeyOf, Manifest, Row, read_manifest, read_rows

ATTACH = "org.weft.point.attached.v1"
CLAIM = "org.weft.point.claimed.v1"
USE = "org.weft.point.used.v1"
ACK = "org.weft.point.acked.v1"
SIGNAL = "org.weft.point.signalled.v1"
SNAPSHOT = "org.weft.snapshot.asked.v1"
SNAPSHOT_S = 1.0  # of the manifest, and of each chunk; then the stream is read
CHUNKS_AT_ONCE = 4
VERDICT = "org.weft.drill.verdict.v1"
DEADLINE_S = 2.0  # of a question; a guard that hears nothing by then refuses
TRY_S = 0.8  # of one attempt, so that a lost one leaves time for another
RETRY_S = 0.05  # while nobody listens: a worker is starting


class Point:
    """The questions, on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def attach(self, tools: list[str] | None) -> Attachment:
        """The records of these tools (none: of all of this workload) and the keys to believe; raises Unavailable."""
        asked: dict[str, Any] = {"tools": [], "every": True} if tools is None else {"tools": tools}
        try:
            answer = await self._ask("weft.attach", ATTACH, asked, DEADLINE_S)
            pages = [read.objects(answer, "tools")]
            while "next" in answer:
                answer = await self._ask("weft.attach", ATTACH, {**asked, "after": read.text(answer, "next")}, DEADLINE_S)
                pages.append(read.objects(answer, "tools"))
            return parse_attachment({**answer, "tools": [tool for page in pages for tool in page]})
        except Malformed as error:
            raise Unavailable(f"the answer to the attach cannot be read: {error}") from None

    async def claim(self, tool: str, jti: str, exp: int) -> bool:
        """Whether this is the first use of the token in the world; raises Unavailable."""
        data = {"tool": tool, "jti": jti, "exp": exp, "id": uuid.uuid4().hex}
        answer = await self._ask("weft.claim", CLAIM, data, DEADLINE_S)
        return answer.get("first") is True

    async def use(self, data: Mapping[str, Any], report_id: str, deadline_s: float = DEADLINE_S) -> int:
        """The RECORD sequence of the report; raises Unavailable."""
        return await self._recorded("weft.use", USE, data, report_id, deadline_s)

    async def signal(self, data: Mapping[str, Any], signal_id: str | None = None, deadline_s: float = DEADLINE_S) -> int:
        """A signal of the guard's own, said once under its id: its RECORD sequence, 0 where it is a signal; raises Unavailable."""
        return await self._recorded("weft.notice", SIGNAL, data, signal_id or uuid.uuid4().hex, deadline_s)

    async def ack(self, counter: int, epoch: int) -> None:
        """Everything up to entry `counter` counts here.  Nobody answers."""
        connection = self._connection
        body = wire.event(ACK, {"n": counter, "epoch": epoch, "at": time.time()}, source=connection.source)
        await connection.publish(f"weft.ack.{connection.name}", body)

    async def snapshot(self, key_of: KeyOf) -> tuple[Manifest, list[Row]] | None:
        """A signed snapshot, where so much is revoked that it is worth it; raises Unavailable, InvalidRevocation."""
        answer = await self._ask("weft.snapshot", SNAPSHOT, {}, SNAPSHOT_S)
        if answer.get("manifest") is None:
            return None
        try:
            manifest = read_manifest(read.text(answer, "manifest"), key_of)
        except Malformed as error:
            raise Unavailable(f"the snapshot cannot be read: {error}") from None
        gate = asyncio.Semaphore(CHUNKS_AT_ONCE)

        async def chunk(number: int) -> bytes:
            async with gate:
                said = await self._ask("weft.snapshot", SNAPSHOT, {"id": manifest.id, "chunk": number}, SNAPSHOT_S)
            try:
                return unb64u(read.text(said, "chunk"))
            except ValueError:
                raise Unavailable("a chunk of the snapshot cannot be read") from None

        return manifest, read_rows(manifest, await asyncio.gather(*map(chunk, range(len(manifest.chunks)))))

    async def verdict(self, data: Mapping[str, Any]) -> None:
        """What the guard says of a canary.  Nobody answers."""
        connection = self._connection
        await connection.publish(f"weft.verdict.{connection.name}", wire.event(VERDICT, data, source=connection.source))

    async def _recorded(self, prefix: str, type_: str, data: Mapping[str, Any], id_: str, deadline_s: float) -> int:
        answer = await self._ask(prefix, type_, data, deadline_s, id_)
        try:
            return read.count(answer, "seq")
        except Malformed as error:
            raise Unavailable(f"the answer cannot be read: {error}") from None

    async def _ask(self, prefix: str, type_: str, data: Mapping[str, Any], deadline_s: float, id_: str | None = None) -> dict[str, Any]:
        """The answer's data; raises Unavailable."""
        body = wire.event(type_, data, source=self._connection.source, id=id_)
        until = time.monotonic() + deadline_s
        while (left := until - time.monotonic()) > 0:
            try:
                return _data(await self._connection.request(f"{prefix}.{self._connection.name}", body, min(left, TRY_S)))
            except nats.errors.TimeoutError:
                continue
            except (nats.errors.NoRespondersError, nats.errors.ConnectionClosedError):
                await asyncio.sleep(min(left, RETRY_S))
            except (nats.errors.Error, OSError) as error:
                raise Unavailable(type(error).__name__) from None
        raise Unavailable("no answer within the deadline")


def _data(raw: bytes) -> dict[str, Any]:
    try:
        answer = wire.parse(raw)
    except Malformed as error:
        raise Unavailable(f"the answer cannot be read: {error}") from None
    if answer.type == wire.FAILED:
        raise Unavailable(f"refused: {answer.data.get('reason')}")
    return answer.data
