"""Makes signed snapshots of the revocation view on demand, and keeps the last two while guards fetch their chunks.

Any copy whose view is current may: it signs what it has itself verified, entry by entry.  A copy that is not says nothing, so that
another one, or the stream, is asked.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from weft.digest import b64u, sha256
from weft.revocation import RevocationView
from weft.snapshot import MAX_CHUNKS, ROWS_A_CHUNK, TYP, manifest_claims, pack

from schemas.snapshot import SnapshotAnswered, SnapshotAsked
from workers.common.clock import Clock

LEAST = 2000  # targets; fewer are quicker read from the stream, and verified one by one
SHARED_S = 5.0  # one snapshot serves everyone who asks within that
KEPT = 2
BUDGET_S = 3.0

Sign = Callable[[dict[str, Any], str], str]


class Snapshots:
    """One copy's."""

    def __init__(self, view: RevocationView, sequence: Callable[[], int], sign: Sign, clock: Clock) -> None:
        """`sequence`: of the stream, the last that the view has taken."""
        self._view = view
        self._sequence = sequence
        self._sign = sign
        self._clock = clock
        self._held: OrderedDict[str, list[bytes]] = OrderedDict()
        self._last: tuple[float, str] | None = None
        self._lock = asyncio.Lock()

    async def answer(self, asked: SnapshotAsked) -> SnapshotAnswered | None:
        """None: silence."""
        if asked.id is None:
            return await self._manifest()
        chunks = self._held.get(asked.id)
        if chunks is None or asked.chunk >= len(chunks):
            return None
        return SnapshotAnswered(chunk=b64u(chunks[asked.chunk]))

    async def _manifest(self) -> SnapshotAnswered | None:
        async with self._lock:
            now = self._clock.now()
            if self._view.age(now) > BUDGET_S:
                return None
            if self._last is None or now - self._last[0] > SHARED_S:
                rows = self._view.rows()
                if not LEAST <= len(rows) <= MAX_CHUNKS * ROWS_A_CHUNK:
                    return SnapshotAnswered()
                said = {name: getattr(self._view, name) for name in ("head", "epoch", "posture")}
                said |= {"n": self._view.counter, "seq": self._sequence()}  # of this very moment, as the rows are
                chunks = await asyncio.to_thread(pack, rows)
                manifest = self._sign(manifest_claims(chunks, **said), TYP)
                self._keep(sha256(manifest), chunks)
                self._last = now, manifest
            return SnapshotAnswered(manifest=self._last[1])

    def _keep(self, id_: str, chunks: list[bytes]) -> None:
        self._held[id_] = chunks
        if len(self._held) > KEPT:
            self._held.popitem(last=False)
