"""What detections find is said, whatever stands in the way for a while."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.detections import DetectionRule, FanOut
from schemas.reasons import DenyReason
from workers.common.rpc import Refused
from workers.signals.ring import NoSigningKey
from workers.signals.watch import watcher
from workers.signals.watch.detect import Finding
from workers.signals.watch.watcher import Watcher

RULE = DetectionRule(name="tries-everything", when=FanOut(of="fan_out", more_than=3))


FAULTS = (NoSigningKey("none"), Refused(DenyReason.RECORD_UNAVAILABLE, "no"), OverflowError())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_what_cannot_be_said_now_is_said_later(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: a finding that cannot be said keeps no other, and no later one, from being said.

    Broken by ending with whatever was not foreseen: a signals key that is compromised before the next one signs silences every
    detection until the worker is started again.
    """
    monkeypatch.setattr(watcher, "RETRY_S", 0.0)
    said: list[str] = []
    done = asyncio.Event()
    faults = [fault]

    async def say(found: Finding) -> None:
        if faults:
            raise faults.pop()
        said.append(found.once)
        if len(said) == 2:
            done.set()

    nc: Any = None
    clock: Any = SimpleNamespace(now=lambda: 0.0)
    made = Watcher(nc, tuple, say, clock)
    running = asyncio.create_task(made.run())
    for once in ("first", "second"):
        made._found.put_nowait(Finding(RULE, "spiffe://88mph.com/agents/a", "i", None, once, "what"))
    waiting = asyncio.create_task(done.wait())
    await asyncio.wait({waiting}, timeout=2)
    for task in (running, waiting):
        task.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    assert said == ["first", "second"]
