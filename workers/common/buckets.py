"""Token buckets by name, bounded in number.  Pure but for the clock that comes in."""

from __future__ import annotations

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
        left, at = self._buckets.pop(name, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate_per_s)
        passed = left >= 1
        self._buckets[name] = (left - 1 if passed else left, now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return passed
