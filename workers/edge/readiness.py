"""Whether the fabric is ready: every worker has a copy that says so, with its views fresh and the canary acknowledged by RECORD.

The verdict is pure (`decide_readiness`); `Readiness` asks.  Answers to one probe are shared for a second, so that whoever can reach the
port cannot make the bus busy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.health import Health

EXPECTED = ("admission", "registry", "gateway", "broker", "signals", "revocation", "audit", "egress")
SHARED_S = 1.0
DEADLINE_S = 3.0  # the canary is given 2


class AsksHealth(Protocol):
    """The bus, as far as readiness needs it."""

    async def health(self, workers: Iterable[str], deadline_s: float) -> list[Health]:
        """What the copies answered: ends early once every worker has a ready copy.  Empty where the bus is gone; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ready, and each worker's part in it."""

    ready: bool
    workers: tuple[dict[str, Any], ...]


def decide_readiness(answers: Iterable[Health], expected: Iterable[str] = EXPECTED) -> Verdict:
    """Silence of a worker is "not ready"; so is a canary that nobody could sing."""
    heard: dict[str, list[Health]] = {worker: [] for worker in expected}
    for answer in answers:
        if answer.worker in heard:
            heard[answer.worker].append(answer)
    workers = tuple(_line(worker, copies) for worker, copies in heard.items())
    recorded = any(copy.recorded for copies in heard.values() for copy in copies)
    return Verdict(recorded and all(line["ready"] for line in workers), workers)


def _line(worker: str, copies: list[Health]) -> dict[str, Any]:
    good = [copy for copy in copies if copy.ready]
    shown = max(good or copies, key=lambda copy: copy.facts or 0, default=None)
    return {
        "worker": worker,
        "ready": bool(good),
        "copies": len({copy.copy_id for copy in copies}),
        "fresh": shown.fresh if shown else False,
        "recorded": shown.recorded if shown else None,
        "facts": shown.facts if shown else None,
        "revocations": shown.revocations if shown else None,
    }


class Readiness:
    """Asks at most once a second, however many probes there are."""

    def __init__(self, bus: AsksHealth) -> None:
        self._bus = bus
        self._lock = asyncio.Lock()
        self._last: tuple[float, Verdict] | None = None

    async def verdict(self) -> Verdict:
        """The verdict, at most `SHARED_S` old."""
        async with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > SHARED_S:
                answers = await self._bus.health(EXPECTED, DEADLINE_S)
                self._last = (time.monotonic(), decide_readiness(answers))
            return self._last[1]
