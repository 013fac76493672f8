"""Receipts on their way back, where one of the transmitters does not take them."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.fetching import Fetch, Fetched
from schemas.record import RESPONDED, Responded
from streams.bus import event
from tests.unit.signals.test_respond import NOW, RISK, transmitter
from workers.signals import returning
from workers.signals.returning import Returning

SLOW, QUICK = "https://slow.example", "https://quick.example"


class Message:
    """A receipt as the consumer hands it out."""

    def __init__(self, iss: str, seq: int) -> None:
        told = Responded(iss=iss, jti=f"j{seq}", event=RISK, confidence="high", response="quarantine", deliver=True, receipt="a.b.c")
        self.data = event(RESPONDED, told, source="/weft/signals")
        at = datetime.fromtimestamp(NOW, UTC)
        self.metadata = SimpleNamespace(sequence=SimpleNamespace(stream=seq), timestamp=at, num_delivered=1)
        self.became = ""

    async def nak(self, delay: float) -> None:
        self.became = "later"

    async def ack_sync(self, timeout: float) -> None:  # noqa: ASYNC109 - nats-py's signature
        self.became = "settled"


class Edge:
    """One of the two does not answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def fetch(self, asked: Fetch) -> Fetched:
        self.asked.append(asked.url)
        return Fetched(failed="timeout") if asked.url.startswith(SLOW) else Fetched(status=202)


async def test_who_does_not_answer_keeps_nobody_elses_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: a transmitter that does not take its receipts is not asked for each of them, and takes no more places than its own.

    Broken by trying every one in turn: each takes eight seconds, in which nobody else's is sent, and those that wait are all that
    the consumer hands out.
    """
    monkeypatch.setattr(returning, "MOST_HELD", 2)
    edge, clock = Edge(), SimpleNamespace(now=lambda: float(NOW))

    def sender(iss: str) -> Any:
        return transmitter(iss=iss, receipts_endpoint=f"{iss}/receipts")

    worker = Returning(sender, edge, clock)
    slow, quick = [Message(SLOW, seq) for seq in (1, 2, 3)], Message(QUICK, 4)
    for message in (*slow, quick):
        await worker.on_message(message)  # type: ignore[arg-type]  # as far as it is used
    assert edge.asked == [f"{SLOW}/receipts", f"{QUICK}/receipts"]
    assert [message.became for message in (*slow, quick)] == ["later", "later", "settled", "settled"]
