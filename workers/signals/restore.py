"""Responses that end by themselves: when a cause has run out, its posture is written anew.

Each copy watches the facts view and tries at the moment; the first commit wins, and the others find nothing left to do.
"""

from __future__ import annotations

import asyncio

import structlog

from schemas.facts import Kind, Posture
from schemas.record import Responded
from streams.facts_table import FactChange, FactsTable
from workers.common import log
from workers.common.clock import Clock
from workers.common.recorder import RecordUnavailable
from workers.signals.changes import Changed, Postures, Unchanged
from workers.signals.policy.posture import next_expiry
from workers.signals.policy.targets import Target
from workers.signals.receipts import Signer
from workers.signals.recording import Recording
from workers.signals.ring import NoSigningKey
from workers.signals.telling import wants_receipts

RETRY_S = 1.0
REASON = "the response's duration has passed"
logger = structlog.get_logger()


class Restorer:
    """`run` for the worker's life; `changed` for every change of the facts."""

    def __init__(self, facts: FactsTable, postures: Postures, recording: Recording, signer: Signer, clock: Clock) -> None:
        self._facts = facts
        self._postures = postures
        self._recording = recording
        self._signer = signer
        self._clock = clock
        self._wake = asyncio.Event()

    def changed(self, change: FactChange) -> None:
        """A fact changed: there may be something earlier to wait for."""
        if change.kind is Kind.POSTURE:
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            due = self._standing()
            now = self._clock.now()
            failed = not all([await self._restore(posture) for until, posture in due if until <= now])
            later = min((until - now for until, _ in due if until > now), default=None)
            wait_s = RETRY_S if failed else later
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _standing(self) -> list[tuple[int, Posture]]:
        """Postures that will end by themselves, with when."""
        held = (entry.fact.body for entry in self._facts.list(Kind.POSTURE))
        postures = [body for body in held if isinstance(body, Posture)]
        return [(until, posture) for posture in postures if (until := next_expiry(posture)) is not None]

    async def _restore(self, posture: Posture) -> bool:
        target = Target(posture.scope, posture.value or posture.target)
        try:
            changed = await self._postures.settle(target, posture.target, by="signals", reason=REASON)
            if changed.written:
                await self._record(posture, changed)
        except (Unchanged, RecordUnavailable, NoSigningKey) as error:
            logger.warning(log.RECORD_FAILED, what="restored", error=type(error).__name__)
            return False
        return True

    async def _record(self, posture: Posture, changed: Changed) -> None:
        level = changed.after.level if changed.after is not None else "normal"
        logger.info(log.POSTURE_RESTORED, scope=posture.scope, level=level, revision=changed.revision)
        over = [cause for cause in posture.causes if changed.after is None or cause not in changed.after.causes]
        for cause in over:
            told = Responded(
                iss=cause.by,
                jti=cause.id,
                event=cause.event,
                confidence="low",
                rule=cause.rule,
                policy=cause.policy,
                deliver=wants_receipts(self._facts.transmitter(cause.by), asked=False),
                response="lift",
                scope=posture.scope,
                target=posture.target,
                value=posture.value,
                posture_revision=changed.revision,
                before=changed.level_before,
                detail=f"{REASON}: {posture.level} -> {level}",
            )
            receipt = self._signer.receipt(told, self._clock.now())
            await self._recording.responded(told.model_copy(update={"receipt": receipt}), f"restored\0{changed.revision}\0{cause.id}")
