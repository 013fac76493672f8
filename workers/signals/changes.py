"""Postures as they stand on FACTS, changed by comparing and setting.

Every change reads the newest message of the posture's subject and is committed only where that still is the newest; whoever comes
second reads again.  So any number of copies of this worker may change one posture, and none loses the other's cause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from nats.aio.client import Client
from weft.digest import sha256

from schemas.facts import FACT, Cause, Fact, Kind, Posture
from streams.bus import PublishConflict, Publisher, PublishFailed, event
from streams.facts_keys import posture_key, read_fact, subject_of
from workers.common import directget, log
from workers.common.clock import Clock
from workers.signals.posture import normalise, posture_of, tightened
from workers.signals.respond import Target

STREAM = "FACTS"
SOURCE = "/weft/signals"
DEADLINE_S = 5.0
PAUSE_S = 0.02  # before reading again: the replica that answered may lag
Rewrite = Callable[[tuple[Cause, ...]], tuple[Cause, ...]]

logger = structlog.get_logger()


class Unchanged(Exception):
    """FACTS did not answer in time, or what it holds cannot be built upon; the posture may or may not have been changed."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The posture that stands now.  `revision` is its own; 0 where there is none."""

    before: Posture | None
    after: Posture | None
    revision: int
    written: bool  # by this call


class Postures:
    """The writer of postures."""

    def __init__(self, nc: Client, publisher: Publisher, clock: Clock) -> None:
        self._nc = nc
        self._publisher = publisher
        self._clock = clock

    async def add(self, target: Target, cause: Cause, *, by: str, reason: str) -> Changed:
        """One more cause.  Raises Unchanged."""
        return await self.rewrite(target, lambda causes: (*causes, cause), by=by, reason=reason)

    async def settle(self, target: Target, digest: str, *, by: str, reason: str) -> Changed:
        """Drop what has run out.  Raises Unchanged."""
        return await self._until_set(target, digest, lambda causes: causes, by, reason)

    async def rewrite(self, target: Target, rewrite: Rewrite, *, by: str, reason: str) -> Changed:
        """Whatever `rewrite` makes of the causes that stand.  It may be called again, with others.  Raises Unchanged."""
        return await self._until_set(target, target.digest, rewrite, by, reason)

    async def _until_set(self, target: Target, digest: str, rewrite: Rewrite, by: str, reason: str) -> Changed:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    before, revision = await self._read(target, digest)
                    after = self._after(target, digest, before, rewrite)
                    if after is None or (before is not None and after.causes == before.causes):
                        return Changed(before, before, revision, written=False)
                    try:
                        seq = await self._write(after, revision, by, reason)
                    except PublishConflict:
                        await asyncio.sleep(PAUSE_S)
                        continue
                    logger.info(log.POSTURE_COMMITTED, scope=target.scope, level=after.level, revision=seq)
                    return Changed(before, after, seq, written=True)
        except (TimeoutError, directget.Unavailable, PublishFailed) as error:
            raise Unchanged("FACTS did not answer in time") from error

    def _after(self, target: Target, digest: str, before: Posture | None, rewrite: Rewrite) -> Posture | None:
        """The posture to write; none where there is nothing to say about a target that has no posture."""
        causes = normalise(rewrite(before.causes if before is not None else ()), self._clock.now())
        if before is None and not causes:
            return None
        value = before.value if before is not None else target.value
        draft = posture_of(target.scope, digest, None if target.scope == "user" else value, causes, revoke=False)
        return draft.model_copy(update={"revoke": tightened(before, draft)})

    async def _read(self, target: Target, digest: str) -> tuple[Posture | None, int]:
        key = posture_key(target.scope, digest)
        found = await directget.last(self._nc, STREAM, subject_of(Kind.POSTURE, key))
        if found is None:
            return None, 0
        fact = read_fact(Kind.POSTURE, key, found.body)
        if fact is None:  # every view reads it as a quarantine: whatever we wrote would loosen it
            raise Unchanged("the posture that stands cannot be read")
        return fact.body if isinstance(fact.body, Posture) else None, found.seq

    async def _write(self, posture: Posture, revision: int, by: str, reason: str) -> int:
        key = posture_key(posture.scope, posture.target)
        fact = Fact(kind=Kind.POSTURE, key=key, body=posture, by=by, reason=reason)
        ack = await self._publisher.publish(
            STREAM,
            subject_of(Kind.POSTURE, key),
            event(FACT, fact, source=SOURCE),
            msg_id=f"signals:posture:{key}:{revision}:{sha256(posture.wire())}",
            expected_last_subject_seq=revision,
            deadline_s=DEADLINE_S,
        )
        return ack.seq
