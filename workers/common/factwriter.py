"""Writes one fact where it still stands as it was read: any number of writers may change it, and none overwrites what it did not see."""

from __future__ import annotations

from weft.digest import sha256

from schemas.facts import FACT, Fact, FactBody
from streams.bus import Publisher, event
from streams.facts_keys import key_of, subject_of

STREAM = "FACTS"


class FactWriter:
    """For facts that one worker alone writes, one at a time."""

    def __init__(self, publisher: Publisher, *, worker: str) -> None:
        self._publisher = publisher
        self._worker = worker

    async def write(self, body: FactBody, revision: int, *, by: str, reason: str | None, deadline_s: float) -> int:
        """Commits it if `revision` is still the fact's newest (0: there is none); returns the new one.

        Raises PublishConflict where it is not, PublishFailed where nobody knows.
        """
        key = key_of(body)
        fact = Fact(kind=body.kind, key=key, body=body, by=by, reason=reason)
        ack = await self._publisher.publish(
            STREAM,
            subject_of(body.kind, key),
            event(FACT, fact, source=f"/weft/{self._worker}"),
            msg_id=f"{self._worker}:{body.kind.value}:{key}:{revision}:{sha256(fact.wire())}",
            expected_last_subject_seq=revision,
            deadline_s=deadline_s,
        )
        return ack.seq
