"""How often one name may come back.  Every admission is a record, so a caller that connects in a loop would fill RECORD with itself.

The name is the attested one, after everything else was verified: nobody spends another's share.  Pure; the clock comes in.  An instance
connects once and again at 80 % of its SVID's life; a person's commands connect once each.
"""

from __future__ import annotations

RATE_PER_S = 10.0
BURST = 100.0
SWEEP_AT = 10_000  # names; who has been away long enough to have all of the burst again is forgotten


class Returning:
    """Of all names, in one copy of admission."""

    def __init__(self, rate_per_s: float = RATE_PER_S, burst: float = BURST) -> None:
        self._rate, self._burst = rate_per_s, burst
        self._names: dict[str, tuple[float, float]] = {}  # what is left, and when that was so

    def allow(self, name: str, now: float) -> bool:
        """Take one connection's worth, if there is any."""
        left = self._left(name, now)
        if left < 1.0:
            return False
        self._names[name] = (left - 1.0, now)
        if len(self._names) > SWEEP_AT:
            self._names = {known: held for known, held in self._names.items() if self._left(known, now) < self._burst}
        return True

    def _left(self, name: str, now: float) -> float:
        left, then = self._names.get(name, (self._burst, now))
        return min(self._burst, left + max(0.0, now - then) * self._rate)
