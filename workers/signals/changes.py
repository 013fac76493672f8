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

from schemas.facts import FACT, Cause, Fact, Kind, Level, Posture, Trigger
from streams.bus import PublishConflict, Publisher, PublishFailed, event
from streams.facts_keys import posture_key, read_fact, subject_of
from workers.common import directget, log
from workers.common.clock import Clock
from workers.signals.policy.posture import normalise, posture_of, tightened
from workers.signals.policy.targets import Target

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

    @property
    def level_before(self) -> Level:
        """No posture is the same as a normal one."""
        return self.before.level if self.before is not None else "normal"


@dataclass(frozen=True, slots=True)
class _Change:
    target: Target
    digest: str  # of the target; where the value itself is not known, a person's, it names it alone
    rewrite: Rewrite
    by: str
    reason: str
    trigger: Trigger | None = None
    strike: bool = False


def _stands(change: _Change, before: Posture | None, after: Posture) -> bool:
    """Nothing of it is new."""
    if before is None:
        return False
    if change.strike:
        return before.trigger is not None and change.trigger is not None and before.trigger.id == change.trigger.id
    return after.causes == before.causes


class Postures:
    """The writer of postures."""

    def __init__(self, nc: Client, publisher: Publisher, clock: Clock) -> None:
        self._nc = nc
        self._publisher = publisher
        self._clock = clock

    async def add(self, target: Target, causes: tuple[Cause, ...], *, trigger: Trigger | None, by: str, reason: str) -> Changed:
        """More causes.  Raises Unchanged."""
        return await self._until_set(_Change(target, target.digest, lambda held: (*held, *causes), by, reason, trigger))

    async def strike(self, target: Target, *, trigger: Trigger, by: str, reason: str) -> Changed:
        """What was minted until now is revoked, and nothing lasts: the causes stay as they are.  Once for a trigger.  Raises Unchanged."""
        return await self._until_set(_Change(target, target.digest, lambda held: held, by, reason, trigger, strike=True))

    async def settle(self, target: Target, digest: str, *, by: str, reason: str) -> Changed:
        """Drop what has run out.  Raises Unchanged."""
        return await self._until_set(_Change(target, digest, lambda held: held, by, reason))

    async def rewrite(self, target: Target, rewrite: Rewrite, *, by: str, reason: str) -> Changed:
        """Whatever `rewrite` makes of the causes that stand.  It may be called again, with others.  Raises Unchanged."""
        return await self._until_set(_Change(target, target.digest, rewrite, by, reason))

    async def _until_set(self, change: _Change) -> Changed:
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    before, revision = await self._read(change.target, change.digest)
                    after = self._after(change, before)
                    if after is None or _stands(change, before, after):
                        return Changed(before, before, revision, written=False)
                    try:
                        seq = await self._write(after, revision, change.by, change.reason)
                    except PublishConflict:
                        await asyncio.sleep(PAUSE_S)
                        continue
                    logger.info(log.POSTURE_COMMITTED, scope=change.target.scope, level=after.level, revision=seq)
                    return Changed(before, after, seq, written=True)
        except (TimeoutError, directget.Unavailable, PublishFailed) as error:
            raise Unchanged("FACTS did not answer in time") from error

    def _after(self, change: _Change, before: Posture | None) -> Posture | None:
        """The posture to write; none where there is nothing to say about a target that has no posture."""
        target, scope = change.target, change.target.scope
        causes = normalise(change.rewrite(before.causes if before is not None else ()), self._clock.now())
        if scope == "key" or (before is None and not causes and not change.strike):
            return None
        value = None if scope == "user" else before.value if before is not None else target.value
        draft = posture_of(scope, change.digest, value, causes, revoke=False, trigger=change.trigger)
        return draft.model_copy(update={"revoke": change.strike or tightened(before, draft)})

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
