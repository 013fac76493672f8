"""Single messages out of a stream by direct get (ADR-31), with a deadline.

An answer may come from a replica that lags: who needs the newest state compares sequences, or writes with an expected one and reads
again when refused.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NATSError

DEADLINE_S = 2.0
PAUSE_S = 0.05  # between tries while the stream has no leader
BATCH = 1000
_NOT_FOUND = "404"
_END_OF_BATCH = "204"
_END = "204"  # of a batch


class Unavailable(Exception):
    """The stream did not answer within the deadline."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One message as the stream holds it."""

    seq: int
    subject: str
    time: str  # RFC 3339, when it was stored
    body: bytes = field(repr=False)


async def last(nc: Client, stream: str, subject: str, *, deadline_s: float = DEADLINE_S) -> Stored | None:
    """The newest message on that subject; none if there is none.  Raises Unavailable."""
    return await _get(nc, stream, {"last_by_subj": subject}, deadline_s)


async def at(nc: Client, stream: str, seq: int, *, deadline_s: float = DEADLINE_S) -> Stored | None:
    """The message of that sequence.  Raises Unavailable."""
    return await _get(nc, stream, {"seq": seq}, deadline_s)


async def following(nc: Client, stream: str, subjects: str, seq: int, *, deadline_s: float = DEADLINE_S) -> Stored | None:
    """The first message of these subjects at or after that sequence.  Raises Unavailable."""
    return await _get(nc, stream, {"seq": seq, "next_by_subj": subjects}, deadline_s)


async def many(nc: Client, stream: str, subjects: str, seq: int, *, count: int = BATCH, deadline_s: float = DEADLINE_S) -> list[Stored]:
    """The next messages of these subjects at or after that sequence, in order; fewer than `count` at the end.  Raises Unavailable.

    Each answer of a batch names the one before (ADR-31), so a lost one shows.
    """
    inbox = nc.new_inbox()
    subscription = await nc.subscribe(inbox)
    try:
        query = {"seq": seq, "next_by_subj": subjects, "batch": count}
        await nc.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(query).encode(), reply=inbox)
        async with asyncio.timeout(deadline_s):
            return await _batch(subscription)
    except (NATSError, TimeoutError, _NotYet) as error:
        raise Unavailable(f"{stream} did not answer within {deadline_s} s") from error
    finally:
        with suppress(NATSError):
            await subscription.unsubscribe()


async def _batch(subscription: Subscription) -> list[Stored]:
    found: list[Stored] = []
    while True:
        msg = await subscription.next_msg(timeout=None)
        headers = msg.headers or {}
        if headers.get("Status") == _NOT_FOUND:
            return found
        if headers.get("Nats-Last-Sequence") != str(found[-1].seq if found else 0):
            raise _NotYet
        if headers.get("Status") == _END:
            return found
        stored = _read(msg)
        if stored is not None:
            found.append(stored)


async def since(nc: Client, stream: str, subjects: str, time: str, *, deadline_s: float = DEADLINE_S) -> AsyncIterator[Stored]:
    """Every message of these subjects stored at or after that time (RFC 3339).  Raises Unavailable."""
    found = await _get(nc, stream, {"start_time": time, "next_by_subj": subjects}, deadline_s)
    while found is not None:
        yield found
        found = await following(nc, stream, subjects, found.seq + 1, deadline_s=deadline_s)


async def page(
    nc: Client,
    stream: str,
    subjects: str,
    *,
    seq: int | None = None,
    time: str | None = None,
    most: int = 500,
    deadline_s: float = DEADLINE_S,
) -> tuple[list[Stored], bool]:
    """The next messages of these subjects from that sequence, or that time (RFC 3339), on; and whether the stream holds more.

    One request, answered by many messages that each name the one before, then a status (ADR-31).  Raises Unavailable.
    """
    query = {"next_by_subj": subjects, "batch": most, **({"start_time": time} if time is not None else {"seq": seq or 1})}
    arrived: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = nc.new_inbox()
    try:
        subscription = await nc.subscribe(inbox, cb=arrived.put)
        try:
            await nc.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(query).encode(), reply=inbox)
            async with asyncio.timeout(deadline_s):
                return await _paged(arrived)
        finally:
            with suppress(NATSError):  # the connection is gone
                await subscription.unsubscribe()
    except (NATSError, TimeoutError, _NotYet) as error:
        raise Unavailable(f"{stream} did not answer within {deadline_s} s") from error


async def _paged(arrived: asyncio.Queue[Msg]) -> tuple[list[Stored], bool]:
    found: list[Stored] = []
    while True:
        msg = await arrived.get()
        headers = msg.headers or {}
        if headers.get("Status") == _NOT_FOUND:
            return found, False
        if int(headers.get("Nats-Last-Sequence", -1)) != (found[-1].seq if found else 0):
            raise _NotYet  # an answer is missing
        if headers.get("Status") == _END_OF_BATCH:
            return found, int(headers["Nats-Num-Pending"]) > 0
        stored = _read(msg)
        if stored is not None:
            found.append(stored)


async def _get(nc: Client, stream: str, query: dict[str, Any], deadline_s: float) -> Stored | None:
    loop = asyncio.get_running_loop()
    until = loop.time() + deadline_s
    while (left := until - loop.time()) > 0:
        try:
            return _read(await nc.request(f"$JS.API.DIRECT.GET.{stream}", json.dumps(query).encode(), timeout=left))
        except (NATSError, _NotYet):
            await asyncio.sleep(min(PAUSE_S, left))
    raise Unavailable(f"{stream} did not answer within {deadline_s} s")


class _NotYet(Exception):
    """An answer that is neither a message nor its absence."""


def _read(msg: Msg) -> Stored | None:
    headers = msg.headers or {}
    status = headers.get("Status")
    if status == _NOT_FOUND:
        return None
    if status is not None or "Nats-Sequence" not in headers:
        raise _NotYet
    return Stored(int(headers["Nats-Sequence"]), headers["Nats-Subject"], headers["Nats-Time-Stamp"], msg.data)
