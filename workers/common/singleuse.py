"""What may happen once: create-if-absent on CLAIMS, for a worker's own claims (`weft.claimed.<worker>.<digest>`).

Points' claims are `revocation`'s to make.  Losing the acknowledgement is read as "not the first": who asked is refused and asks anew.
"""

from __future__ import annotations

from uuid import uuid4

from schemas.points import CLAIM, Claimed
from streams.bus import PublishConflict, Publisher, PublishFailed, event
from streams.subjects import CLAIMED

STREAM = "CLAIMS"
DEADLINE_S = 2.0
MAX_TTL_S = 900  # what CLAIMS keeps


class ClaimUnavailable(Exception):
    """CLAIMS did not acknowledge: nobody knows whether it is the first."""


class SingleUse:
    """Claims of one worker."""

    def __init__(self, publisher: Publisher, worker: str) -> None:
        self._publisher = publisher
        self._worker = worker

    async def first(self, digest: str, ttl_s: int) -> bool:
        """Whether nobody claimed this before, in any copy of the worker, within `ttl_s`.  Raises ClaimUnavailable."""
        id_ = f"{self._worker}:claim:{uuid4().hex}"
        body = event(CLAIM, Claimed(first=True), source=f"/weft/{self._worker}", id=id_)
        try:
            await self._publisher.publish(
                STREAM,
                CLAIMED.at(self._worker, digest),
                body,
                msg_id=id_,
                expected_last_subject_seq=0,
                ttl_s=max(1, min(ttl_s, MAX_TTL_S)),
                deadline_s=DEADLINE_S,
            )
        except PublishConflict:
            return False
        except PublishFailed as error:
            raise ClaimUnavailable("CLAIMS did not acknowledge") from error
        return True
