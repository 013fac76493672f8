"""How many different subjects a sender's word has hit within a minute, by the time SIGNALS gave each SET."""

from __future__ import annotations

from collections import deque

from workers.signals.policy.targets import Target

WINDOW_S = 60.0


class Pace:
    """Of every sender."""

    def __init__(self) -> None:
        self._hits: dict[str, deque[tuple[float, Target]]] = {}

    def allows(self, iss: str, target: Target, at: float, most: int) -> bool:
        """Counts the target unless it is beyond the ceiling.  Asking again about the same one changes nothing."""
        hits = self._hits.setdefault(iss, deque())
        while hits and hits[0][0] < at - WINDOW_S:
            hits.popleft()
        recent = {hit for _, hit in hits}
        if target not in recent:
            if len(recent) >= most:
                return False
            hits.append((at, target))
        return True
