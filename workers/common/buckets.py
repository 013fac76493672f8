"""Token buckets by name, bounded in number.  Pure but for the clock that comes in."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

REMEMBERED = 4096  # names; the one longest unseen is forgotten first


class Buckets:
    """Each name may do `burst` at once and `rate_per_s` in the long run."""

    def __init__(self, rate_per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> bool:
        """One more by that name: may it pass?"""
        now = self._clock()
        left = self._left(name, now)
        self._buckets.pop(name, None)
        passed = left >= 1
        self._buckets[name] = (left - 1 if passed else left, now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return passed

    def wait_s(self, name: str) -> int:
        """Whole seconds until that name may pass again, at least one: for Retry-After (RFC 9110 section 10.2.3)."""
        return max(1, math.ceil((1 - self._left(name, self._clock())) / self._rate_per_s))

    def _left(self, name: str, now: float) -> float:
        left, at = self._buckets.get(name, (self._burst, now))
        return min(self._burst, left + (now - at) * self._rate_per_s)
