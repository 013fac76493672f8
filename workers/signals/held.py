"""Messages that wait for something of somebody's own, on a consumer that everybody shares: of each, so many and no more.  Pure."""

from __future__ import annotations


class Held:
    """Which messages wait for something of their sender's."""

    def __init__(self, most: int) -> None:
        """`most`: of one sender."""
        self._most = most
        self._of: dict[str, set[int]] = {}

    def may_wait(self, iss: str, seq: int) -> bool:
        """Whether there is room for it, or it waits already."""
        own = self._of.setdefault(iss, set())
        if seq not in own and len(own) >= self._most:
            return False
        own.add(seq)
        return True

    def settled(self, seq: int) -> None:
        """It waits no longer."""
        for own in self._of.values():
            own.discard(seq)
