"""Time is a port: whoever decides takes a clock, so that tests own the time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The wall clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...


class SystemClock:
    """The machine's."""

    def now(self) -> float:
        return time.time()
