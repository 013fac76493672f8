"""The streams and their durable consumers.  Applied at start with the `topology` credential; workers only bind.

Idempotent.  Limits may be changed by a later version; what decides whether the stream can be believed (where it is stored, what it
captures, what can be deleted, what is republished) may not: a stream that differs there is refused, never rewritten.

Not used, with the measurements in docs/decisions/0001-operator-mode.md: KV buckets, roll-ups, message schedules, asynchronous
persistence.
"""

from __future__ import annotations

import asyncio
from typing import Any

from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError, ServiceUnavailableError

from streams import subjects as s

REVOCATIONS_MAX_AGE_S = 900  # the longest token, 300 s, and what a point needs to catch up
DUPLICATE_WINDOW_S = 120
LEADER_DEADLINE_S = 30.0
LEADER_RETRY_S = 0.2
RECORD_MAX_BYTES = 8_589_934_592
CLAIMS_MAX_AGE_S = 900
OUTGOING_MAX_AGE_S = 2_592_000  # a receiver that is away for thirty days has missed what was said
OUTGOING_MAX_BYTES = 1_073_741_824
_IMMUTABLE = (
    "subjects",
    "retention",
    "storage",
    "discard",
    "discard_new_per_subject",
    "allow_direct",
    "allow_atomic",
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "allow_msg_schedules",
    "deny_delete",
    "deny_purge",
    "republish",
    "persist_mode",
    "mirror",
    "sources",
    "sealed",
)


class TopologyUnavailable(Exception):
    """JetStream has no leader, or too few servers for the replicas that are asked for."""


class TopologyRefused(Exception):
    """A stream or consumer exists and is not what it must be.  The text names it and what differs."""


def stream_configs(replicas: int, *, record_max_bytes: int = RECORD_MAX_BYTES) -> tuple[StreamConfig, ...]:
    """What the streams must be."""
    return (
        _stream(
            "FACTS",
            replicas,
            s.FACT.filter,
            republish=RePublish(src=s.FACT.filter, dest=s.PUSH_FACT.filter),
            allow_atomic=True,
        ),
        _stream("SIGNALS", replicas, s.SIGNAL.filter),
        _stream(
            "REVOCATIONS",
            replicas,
            s.REVOCATION.filter,
            republish=RePublish(src=s.REVOCATION.filter, dest=s.PUSH_REVOCATION.filter),
            allow_msg_ttl=True,
            max_age=REVOCATIONS_MAX_AGE_S,
        ),
        _stream(
            "RECORD",
            replicas,
            s.RECORD.filter,
            republish=RePublish(src=s.RECORD.filter, dest=s.PUSH_RECORD.filter),
            allow_atomic=True,
            max_bytes=record_max_bytes,
        ),
        _stream(
            "CLAIMS",
            replicas,
            s.CLAIMED.filter,
            allow_msg_ttl=True,
            max_age=CLAIMS_MAX_AGE_S,
            max_msgs_per_subject=1,
            discard_new_per_subject=True,
        ),
        _stream(
            "OUTGOING",
            replicas,
            s.OUTGOING.filter,
            s.DEAD.filter,
            republish=RePublish(src=s.OUTGOING.filter, dest=s.PUSH_OUTGOING.filter, headers_only=True),
            retention=RetentionPolicy.WORK_QUEUE,
            deny_purge=False,  # what a poll acknowledges is removed by its subject
            max_age=OUTGOING_MAX_AGE_S,
            max_bytes=OUTGOING_MAX_BYTES,
        ),
    )


def _stream(name: str, replicas: int, *subjects: str, **more: Any) -> StreamConfig:
    common = {
        "retention": RetentionPolicy.LIMITS,
        "storage": StorageType.FILE,
        "discard": DiscardPolicy.NEW,
        "num_replicas": replicas,
        "duplicate_window": DUPLICATE_WINDOW_S,
        "allow_direct": True,
        "deny_delete": True,
        "deny_purge": True,
    }
    return StreamConfig(name=name, subjects=list(subjects), **{**common, **more})


def consumer_configs() -> dict[tuple[str, str], ConsumerConfig]:
    """What the durables must be, by stream and name.  A handler that fails is tried again for ever: nothing is dropped silently."""
    return {
        ("SIGNALS", "signals"): _durable("signals", s.SIGNAL.filter, ack_wait_s=10, max_ack_pending=4096),
        ("RECORD", "receipts"): _told("receipts", s.RECORD.at("revocation", "completed")),
        ("FACTS", "revocation"): _durable("revocation", s.FACT.at("posture") + ".>", ack_wait_s=5, max_ack_pending=256),
        ("RECORD", "return-receipts"): _told("return-receipts", s.RECORD.at("signals"), max_ack_pending=4096),
        ("RECORD", "tell-responses"): _told("tell-responses", s.RECORD.at("signals", "responded")),
        ("RECORD", "tell-revocations"): _told("tell-revocations", s.RECORD.at("revocation", "revoked")),
    }


def _told(name: str, family: str, max_ack_pending: int = 64) -> ConsumerConfig:
    """Receivers of our signals are told what happens from now on."""
    return _durable(name, f"{family}.>", ack_wait_s=10, max_ack_pending=max_ack_pending, deliver=DeliverPolicy.NEW)


def _durable(
    name: str, subject: str, *, ack_wait_s: int, max_ack_pending: int, deliver: DeliverPolicy = DeliverPolicy.ALL
) -> ConsumerConfig:
    return ConsumerConfig(
        name=name,
        durable_name=name,
        deliver_policy=deliver,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ack_wait_s,
        max_deliver=-1,
        filter_subject=subject,
        max_ack_pending=max_ack_pending,
    )


async def apply(js: JetStreamContext, replicas: int = 1, *, record_max_bytes: int = RECORD_MAX_BYTES) -> None:
    """Make what is missing, update limits, refuse what differs.  Raises TopologyRefused, TopologyUnavailable.

    A cluster that has just started elects its leaders first: tried again until `LEADER_DEADLINE_S`; every step may be repeated.
    """
    try:
        async with asyncio.timeout(LEADER_DEADLINE_S):
            while not await _applied(js, replicas, record_max_bytes):  # noqa: ASYNC110 - this credential hears of no election
                await asyncio.sleep(LEADER_RETRY_S)
    except TimeoutError:
        raise TopologyUnavailable("JetStream did not become available") from None


async def _applied(js: JetStreamContext, replicas: int, record_max_bytes: int) -> bool:
    try:
        await _apply_all(js, replicas, record_max_bytes)
    except (ServiceUnavailableError, NoRespondersError, NatsTimeoutError):  # no leader yet
        return False
    return True


async def _apply_all(js: JetStreamContext, replicas: int, record_max_bytes: int) -> None:
    for stream in stream_configs(replicas, record_max_bytes=record_max_bytes):
        await _apply_stream(js, stream)
    for (stream_name, _), consumer in consumer_configs().items():
        await _apply_consumer(js, stream_name, consumer)


async def _apply_stream(js: JetStreamContext, wanted: StreamConfig) -> None:
    try:
        held = (await js.stream_info(str(wanted.name))).config
    except NotFoundError:
        await js.add_stream(wanted)
        return
    differ = [field for field in _IMMUTABLE if (getattr(held, field) or None) != (getattr(wanted, field) or None)]
    if differ:
        raise TopologyRefused(f"stream {wanted.name} differs in {', '.join(differ)}")
    await js.update_stream(wanted)


async def _apply_consumer(js: JetStreamContext, stream: str, wanted: ConsumerConfig) -> None:
    try:
        held = (await js.consumer_info(stream, str(wanted.durable_name))).config
    except NotFoundError:
        held = None
    fixed = ("deliver_policy", "ack_policy", "filter_subject", "deliver_subject")
    differ = [] if held is None else [field for field in fixed if getattr(held, field) != getattr(wanted, field)]
    if differ:
        raise TopologyRefused(f"consumer {wanted.durable_name} of {stream} differs in {', '.join(differ)}")
    await js.add_consumer(stream, config=wanted)
