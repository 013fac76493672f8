"""Publishing into a stream: acknowledged, retried with the same id, never silently.  NATS ADR-22 (retries), ADR-50 (atomic batches).

A message without an acknowledgement may or may not be stored; the same `Nats-Msg-Id` makes a retry safe within the stream's duplicate
window.  A duplicate on the *first* attempt may be ours all the same, since nats-py sends again what it held when a connection broke; or
somebody used the id before.  What the stream holds tells the two apart, and what is foreign is logged as an alarm.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

import nats.errors
import structlog
from nats.aio.client import Client

from schemas.envelope import CONTENT_TYPE

DEADLINE_S = 15.0  # an election in a cluster took up to 7 s (docs/decisions/0001-operator-mode.md)
ATTEMPT_S = 2.0
MAX_BATCH = 1_000  # the server's limit
DUPLICATE_ON_FIRST_ATTEMPT = "publish_duplicate_on_first_attempt"
_LOOKS_S = (0.05, 0.2)  # for a replica to follow
_BACKOFF_S = (0.02, 0.05, 0.1, 0.2, 0.4)

# nats-server's error codes (server/errors.json)
_CONFLICTS = {
    10060: "another stream took it",
    10070: "the last message is another",
    10071: "the last sequence is another",
    10164: "the last sequence is another",
    10201: "an id of the batch is known",
}
_TRANSIENT = {
    10008,  # JetStream temporarily unavailable: an election
    10158,  # the same id is being stored at this moment
    10176,  # the batch was given up half way: a restart or an election, nothing was stored
}
_LOST = (nats.errors.TimeoutError, nats.errors.NoRespondersError, nats.errors.OutboundBufferLimitError, nats.errors.StaleConnectionError)
logger = structlog.get_logger()


class PublishFailed(Exception):
    """No acknowledgement within the deadline, or the stream refuses such messages.  After a timeout it may be stored nevertheless."""


class PublishConflict(Exception):
    """An expectation did not hold and nothing was stored.  `duplicate`: a member of a batch was stored before, perhaps by an attempt
    of ours whose acknowledgement was lost (`attempts` > 1).
    """

    def __init__(self, text: str, *, duplicate: bool = False, attempts: int = 1) -> None:
        super().__init__(text)
        self.duplicate = duplicate
        self.attempts = attempts


@dataclass(frozen=True, slots=True)
class PubAck:
    """Stored at `seq`.  `duplicate`: its id was there before, and `seq` is that message's."""

    stream: str
    seq: int
    duplicate: bool = False
    attempts: int = 1


class Message(Protocol):
    """One message of a batch."""

    @property
    def subject(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def msg_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A Message with an expectation: the last sequence on its own subject, or on `expected_subject`, which may be a filter."""

    subject: str
    body: bytes
    msg_id: str
    expected_last_subject_seq: int | None = None
    expected_subject: str | None = None


class Publisher:
    """Publishes over one connection."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def publish(
        self,
        stream: str,
        subject: str,
        body: bytes,
        *,
        msg_id: str,
        expected_last_subject_seq: int | None = None,
        expected_last_seq: int | None = None,
        ttl_s: int | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> PubAck:
        """Store one message.  Raises PublishConflict, PublishFailed."""
        sent = {**(headers or {}), **_headers(stream, msg_id, expected_last_subject_seq, None)}
        if expected_last_seq is not None:
            sent["Nats-Expected-Last-Sequence"] = str(expected_last_seq)
        if ttl_s is not None:
            sent["Nats-TTL"] = str(ttl_s)

        async def once(timeout_s: float) -> bytes:
            return (await self._nc.request(subject, body, timeout=timeout_s, headers=sent)).data

        connections = self._nc.stats["reconnects"]
        try:
            ack = await _until_acknowledged(once, deadline_s)
        except PublishConflict as conflict:
            expected = expected_last_seq is not None or expected_last_subject_seq is not None
            return await self._stored_after_all(conflict, stream, subject, msg_id, expected=expected)
        if ack.duplicate and ack.attempts == 1:
            await self._alarm_if_foreign(ack, subject, msg_id, sent_again=self._nc.stats["reconnects"] != connections)
        return ack

    async def publish_batch(
        self, stream: str, messages: Sequence[Message], *, expected_last_seq: int | None = None, deadline_s: float = DEADLINE_S
    ) -> PubAck:
        """Store all in adjacent sequences, or none; the acknowledgement is the last one's.  Raises PublishConflict, PublishFailed."""
        if not 0 < len(messages) <= MAX_BATCH:
            raise PublishFailed(f"a batch has 1 to {MAX_BATCH} messages")

        async def once(timeout_s: float) -> bytes:
            async with asyncio.timeout(timeout_s):
                return await self._send_batch(stream, messages, expected_last_seq, timeout_s)

        try:
            return await _until_acknowledged(once, deadline_s)
        except PublishConflict as conflict:
            expected = expected_last_seq is not None or any(_expectation(message)[0] is not None for message in messages)
            last = messages[-1]
            return await self._stored_after_all(conflict, stream, last.subject, last.msg_id, expected=expected)

    async def _stored_after_all(self, conflict: PublishConflict, stream: str, subject: str, msg_id: str, *, expected: bool) -> PubAck:
        """The server checks expectations before ids, so that a retry of what was stored conflicts with itself: look whose it is."""
        if not expected or conflict.attempts == 1:
            raise conflict
        found = await self._last(stream, subject)
        if found.get("Nats-Msg-Id") != msg_id:
            raise conflict
        return PubAck(stream, int(found["Nats-Sequence"]), duplicate=True, attempts=conflict.attempts)

    async def _alarm_if_foreign(self, ack: PubAck, subject: str, msg_id: str, *, sent_again: bool) -> None:
        """What stands under our id is on our subject, where the server lets nobody else publish; or it is somebody's who planted it.

        A worker may read its own subjects alone, the last message of each.  Where another message of ours came after it, only a
        connection that was made anew meanwhile (`sent_again`) speaks for us.  A replica that answers may lag: asked more than once.
        """
        for pause_s in _LOOKS_S:
            found = await self._last(ack.stream, subject)
            last = int(found.get("Nats-Sequence", 0))
            if found.get("Nats-Msg-Id") == msg_id or (sent_again and last > ack.seq):
                return
            if last > ack.seq:
                break
            await asyncio.sleep(pause_s)
        logger.error(DUPLICATE_ON_FIRST_ATTEMPT, stream=ack.stream, seq=ack.seq)

    async def _last(self, stream: str, subject: str) -> dict[str, str]:
        """The headers of the last message on a subject; none where there is none, or nobody answers."""
        try:
            return (await self._nc.request(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", timeout=ATTEMPT_S)).headers or {}
        except nats.errors.Error:
            return {}

    async def _send_batch(self, stream: str, messages: Sequence[Message], expected_last_seq: int | None, timeout_s: float) -> bytes:
        batch = uuid4().hex
        *first, last = [
            (message, {**_headers(stream, message.msg_id, *_expectation(message)), "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(n)})
            for n, message in enumerate(messages, 1)
        ]
        if expected_last_seq is not None:
            (first[0] if first else last)[1]["Nats-Expected-Last-Sequence"] = str(expected_last_seq)
        for message, headers in first:
            await self._nc.publish(message.subject, message.body, headers=headers)
        message, headers = last
        headers["Nats-Batch-Commit"] = "1"
        return (await self._nc.request(message.subject, message.body, timeout=timeout_s, headers=headers)).data


def _headers(stream: str, msg_id: str, last_subject_seq: int | None, subject: str | None) -> dict[str, str]:
    headers = {"Content-Type": CONTENT_TYPE, "Nats-Msg-Id": msg_id, "Nats-Expected-Stream": stream}
    if last_subject_seq is not None:
        headers["Nats-Expected-Last-Subject-Sequence"] = str(last_subject_seq)
    if subject is not None:
        headers["Nats-Expected-Last-Subject-Sequence-Subject"] = subject
    return headers


def _expectation(message: Message) -> tuple[int | None, str | None]:
    return (message.expected_last_subject_seq, message.expected_subject) if isinstance(message, Outgoing) else (None, None)


async def _until_acknowledged(once: Callable[[float], Awaitable[bytes]], deadline_s: float) -> PubAck:
    """Try until an answer that decides, or the deadline."""
    ends = asyncio.get_running_loop().time() + deadline_s
    attempts = 0
    while (left := ends - asyncio.get_running_loop().time()) > 0:
        attempts += 1
        try:
            ack = _read(await once(min(left, ATTEMPT_S)), attempts)
        except (*_LOST, TimeoutError):
            ack = None
        except nats.errors.Error as error:
            raise PublishFailed(f"the client could not publish: {type(error).__name__}") from error
        if ack is not None:
            return ack
        await asyncio.sleep(_BACKOFF_S[min(attempts, len(_BACKOFF_S)) - 1] * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
    raise PublishFailed(f"no acknowledgement within {deadline_s:g} s")


def _read(answer: bytes, attempts: int) -> PubAck | None:
    """The answer of the stream; none where trying again may help.  Raises PublishConflict, PublishFailed."""
    try:
        content: dict[str, Any] = json.loads(answer)
        error = content.get("error")
        if error is None:
            ack = PubAck(content["stream"], content["seq"], bool(content.get("duplicate")), attempts)
        code = 0 if error is None else int(error.get("err_code", 0))
    except (ValueError, KeyError, AttributeError) as fault:
        raise PublishFailed("the answer is no acknowledgement") from fault
    if error is not None:
        _raise_unless_transient(code, attempts)
        return None
    return ack


def _raise_unless_transient(code: int, attempts: int) -> None:
    if code in _CONFLICTS:
        raise PublishConflict(_CONFLICTS[code], duplicate=code == 10201, attempts=attempts)
    if code not in _TRANSIENT:
        raise PublishFailed(f"the stream refuses it, error {code}")
