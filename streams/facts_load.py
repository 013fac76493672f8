"""Loading the facts: the last message of every subject, by a short-lived push consumer.  JetStream, ADR-15.

nats-py's own ordered consumer loses messages in silence, so this one counts: consumer sequences must follow each other without a
hole, and the load is done when the server says that none is pending.  What came meanwhile, the feed fetches (streams.facts).

What is under way is bounded by acknowledgements, not by flow control: its window grows to 32 MiB, and the server cuts a client that is
8 MiB behind (measured: a load of 50,000 facts was).  That they may be published is the worker's right to answer what it is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from secrets import token_hex
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from streams.facts_table import FactsTable
from streams.subjects import FACT

STREAM = "FACTS"
REQUEST_S = 5.0
HEARTBEAT_NS = 1_000_000_000
UNDER_WAY = 1000  # messages sent and not acknowledged
ACK_EVERY = 250
INACTIVE_NS = 30_000_000_000  # the server removes a consumer whose loader died
_API = "$JS.API"


class LoadFailed(Exception):
    """The facts were not loaded whole.  The text says where it ended."""


async def load(nc: Client, table: FactsTable, worker: str) -> str:
    """Fill an empty table; the stream's epoch.  Raises LoadFailed; the caller sets the deadline."""
    epoch, _ = await stream_state(nc)
    name, inbox, arrivals = f"{worker}-view-{token_hex(8)}", nc.new_inbox(), _Arrivals(table)
    subscription = await nc.subscribe(inbox, cb=arrivals.on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
    try:
        await nc.flush()
        created = await _ask(nc, f"CONSUMER.CREATE.{STREAM}.{name}.{FACT.filter}", _consumer(name, inbox))
        if created["num_pending"] + created["delivered"]["consumer_seq"] > 0:
            await arrivals.done
    finally:
        with contextlib.suppress(nats.errors.Error):
            await subscription.unsubscribe()
        with contextlib.suppress(nats.errors.Error, LoadFailed):  # the server removes it by itself
            await _ask(nc, f"CONSUMER.DELETE.{STREAM}.{name}", None)
    return epoch


async def stream_state(nc: Client) -> tuple[str, int]:
    """The stream's epoch, which is when it was made, and its last sequence.  Raises LoadFailed."""
    info = await _ask(nc, f"STREAM.INFO.{STREAM}", None)
    return str(info["created"]), int(info["state"]["last_seq"])


def _consumer(name: str, inbox: str) -> dict[str, Any]:
    config = {
        "name": name,
        "deliver_policy": "last_per_subject",
        "ack_policy": "all",
        "max_ack_pending": UNDER_WAY,
        "replay_policy": "instant",
        "filter_subject": FACT.filter,
        "deliver_subject": inbox,
        "idle_heartbeat": HEARTBEAT_NS,
        "inactive_threshold": INACTIVE_NS,
        "mem_storage": True,
        "num_replicas": 1,
    }
    return {"stream_name": STREAM, "config": config, "action": "create"}


async def _ask(nc: Client, what: str, body: dict[str, Any] | None) -> dict[str, Any]:
    try:
        answer = await nc.request(f"{_API}.{what}", b"" if body is None else json.dumps(body).encode(), timeout=REQUEST_S)
        read: dict[str, Any] = json.loads(answer.data)
    except (nats.errors.Error, ValueError) as error:
        raise LoadFailed(f"{what.split('.')[1]}: {type(error).__name__}") from error
    if "error" in read:
        raise LoadFailed(f"{what.split('.')[1]}: {read['error'].get('err_code')}")
    return read


class _Arrivals:
    """What the consumer delivers, in its order, until nothing is pending."""

    def __init__(self, table: FactsTable) -> None:
        self._table = table
        self._next = 1
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def on_message(self, msg: Msg) -> None:
        if self.done.done():
            return
        if msg.headers is not None and "Status" in msg.headers:
            self._on_status(msg.headers)
            return
        try:
            seq, consumer_seq, pending = _numbers(msg.reply)
        except ValueError:
            return  # not of the consumer
        if consumer_seq != self._next:
            self.done.set_exception(LoadFailed(f"message {self._next} of the load is missing"))
            return
        self._next += 1
        self._table.apply(seq, msg.subject, msg.data)
        if pending == 0:
            self.done.set_result(None)
        elif consumer_seq % ACK_EVERY == 0:
            await msg.respond(b"+ACK")

    def _on_status(self, headers: dict[str, str]) -> None:
        """A heartbeat tells what was delivered last, so a lost end shows."""
        last = headers.get("Nats-Last-Consumer")
        if last is not None and int(last) >= self._next and not self.done.done():
            self.done.set_exception(LoadFailed(f"message {self._next} of the load is missing"))


def _numbers(reply: str) -> tuple[int, int, int]:
    """Stream sequence, consumer sequence and pending of `$JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<cseq>.<time>.<pending>`."""
    tokens = reply.split(".")
    if len(tokens) != 9 or tokens[:2] != ["$JS", "ACK"]:
        raise ValueError("not a delivery of this domain")
    return int(tokens[5]), int(tokens[6]), int(tokens[8])
