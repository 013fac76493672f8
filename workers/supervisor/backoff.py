"""How long to wait before building anew what ended: doubled each time, forgotten after a while of good work."""

from __future__ import annotations

import random
from dataclasses import dataclass

FIRST_S = 0.1
LONGEST_S = 10.0
GOOD_AFTER_S = 30.0  # a worker that ran this long starts from the first delay again


@dataclass
class Backoff:
    """One per kept thing."""

    failures: int = 0

    def after(self, ran_s: float) -> float:
        """The delay in seconds, now that it ended after `ran_s`.  Up to a quarter less, so that copies do not move in step."""
        self.failures = 1 if ran_s >= GOOD_AFTER_S else self.failures + 1
        longest = min(LONGEST_S, FIRST_S * 2.0 ** min(self.failures - 1, 16))
        return longest * random.uniform(0.75, 1.0)  # noqa: S311  # spreads load, keeps no secret
