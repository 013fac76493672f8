"""What one caller may ask: a token bucket and a cap on what is in flight, per connection name.  Pure; the clock comes in.

The name is the one the server attested, so a caller can neither wear another's nor hide behind many.  Nothing here reads the
message: refusing has to stay far cheaper than asking.  The figures and their reasons stand in `config.settings.Limits`.
"""

from __future__ import annotations

from dataclasses import dataclass

from config.limits import Limits as Allowed
from schemas.reasons import DenyReason

STRIKES = 5  # seconds in a row of more refused than a whole second's rate, until the connection is cut
SWEEP_S = 30  # callers that have been silent are forgotten this often


@dataclass(frozen=True, slots=True)
class Excess:
    """What a caller asked in the last second beyond its limits."""

    caller: str
    count: int
    cut: bool  # it goes on and on


@dataclass(slots=True)
class _Caller:
    tokens: float
    filled_at: float
    in_flight: int = 0
    refused: int = 0
    strikes: int = 0


class Limits:
    """Of all callers.  `admit` and `leave` belong together."""

    def __init__(self, allowed: Allowed) -> None:
        self._rate = allowed.rate_per_s
        self._burst = float(allowed.burst)
        self._max_in_flight = allowed.in_flight
        self._callers: dict[str, _Caller] = {}
        self._over: set[str] = set()
        self._sweep_at = 0.0

    def __len__(self) -> int:
        return len(self._callers)

    def admit(self, name: str, now: float) -> DenyReason | None:
        """Take one call's worth, or say why not.  Who is admitted must `leave`."""
        caller = self._callers.get(name)
        if caller is None:
            caller = self._callers[name] = _Caller(self._burst, now)
        caller.tokens = min(self._burst, caller.tokens + max(0.0, now - caller.filled_at) * self._rate)
        caller.filled_at = now
        if caller.tokens >= 1.0 and caller.in_flight < self._max_in_flight:
            caller.tokens -= 1.0
            caller.in_flight += 1
            return None
        caller.refused += 1
        self._over.add(name)
        return DenyReason.RATE_LIMITED if caller.tokens < 1.0 else DenyReason.TOO_MANY_IN_FLIGHT

    def leave(self, name: str) -> None:
        """The call that was admitted has been answered."""
        self._callers[name].in_flight -= 1

    def close_second(self, now: float) -> tuple[Excess, ...]:
        """Once a second: who was over the limits since the last time."""
        over, self._over = self._over, set()
        if now >= self._sweep_at:
            self._sweep(now, over)
        return tuple(self._strike(name, self._callers[name]) for name in sorted(over))

    def _strike(self, name: str, caller: _Caller) -> Excess:
        count, caller.refused = caller.refused, 0
        caller.strikes = caller.strikes + 1 if count > self._rate else 0
        cut = caller.strikes >= STRIKES
        if cut:
            caller.strikes = 0
        return Excess(name, count, cut)

    def _sweep(self, now: float, over: set[str]) -> None:
        """Forget who has a full bucket and nothing in flight: it is as if we had never met."""
        self._sweep_at = now + SWEEP_S
        full_at = self._burst / self._rate
        idle = [n for n, c in self._callers.items() if not c.in_flight and now - c.filled_at >= full_at and n not in over]
        for name in idle:
            del self._callers[name]
