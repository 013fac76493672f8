"""Tokens of other servers, taken back where they were issued (RFC 7009), as long as they live.

1. What a revocation hits.  2. What has served as long as its tool allows, and lives on.  3. What was issued and may not be used.  4. All of
it when the broker stops.  5. What a broker left that was killed: what nobody may use any more is taken back by whoever finds it, the rest
goes on as the finder's own, so that a revocation still ends it.

Trying goes on until the server has done it, has refused for good, or the token has ended.  Whatever is under way stands in the ledger, as
serving nobody: who dies over it leaves it to the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from workers.broker.authservers.answers import AnswerRefused
from workers.broker.authservers.asking import Asker, Unreachable
from workers.broker.authservers.held import Held, Holding, Revocations
from workers.broker.authservers.ports import Ledger, NotKept, NoWay
from workers.broker.authservers.telling import Telling
from workers.common import log
from workers.common.clock import Clock

AGAIN_S = (0.2, 5.0)  # between two tries to take a token back: the first, and the longest
STOP_S = 3.0  # for all that is left when the broker stops
UPKEEP_S = 5.0  # between two looks at what others left and what is past its time


class Returning:
    """Takes back, and takes over."""

    def __init__(
        self,
        *,
        asker: Asker,
        holding: Holding,
        ledger: Ledger,
        revocations: Revocations,
        telling: Telling,
        clock: Clock,
        spawn: Callable[..., Any],
        logger: Any,
    ) -> None:
        self._asker = asker
        self._holding = holding
        self._ledger = ledger
        self._revocations = revocations
        self._telling = telling
        self._clock = clock
        self._spawn = spawn
        self._log = logger

    def begin(self, *several: Held) -> None:
        """They serve nobody from here on; the rest happens in the background."""
        for held in several:
            self._holding.drop(held)
            self._spawn(self._take_back(held), name="take back")

    def revoked(self) -> None:
        """The view has changed: what it hits."""  # 1
        self.begin(*self._holding.hit(self._revocations))

    async def upkeep(self) -> None:
        """For the broker's life: what is past its time, and what others left."""
        while True:
            try:
                await self.look()
            except NotKept as error:
                self._log.warning(log.OBTAINED_UNKEPT, reason=str(error))
            await asyncio.sleep(UPKEEP_S)

    async def look(self) -> None:
        """Once.  Raises NotKept."""
        now = self._clock.now()
        for held in self._holding.past(now):  # 2
            await self._end(held, now)
        known = self._ledger.unreadable
        found = await self._ledger.adopt(now)
        if self._ledger.unreadable > known:
            self._log.error(log.OBTAINED_UNREADABLE, count=self._ledger.unreadable - known)
        for held in found:  # 5
            await self._adopt(held, now)
        if found:
            self._log.info(log.OBTAINED_ADOPTED, count=len(found))

    async def stop(self) -> None:
        """Nobody would take back what a broker that is gone obtained; what cannot be done now, the next one finds."""  # 4
        left = list(self._holding.everything())
        for held in left:
            self._holding.drop(held)
        if left:
            await asyncio.wait([asyncio.ensure_future(self._take_back(held)) for held in left], timeout=STOP_S)

    async def _end(self, held: Held, now: float) -> None:
        """Past its time: where it lives on and its resource servers would heed it, it is taken back."""
        if held.exp > now and held.server.revocable:
            self.begin(held)
        else:
            await self._ledger.forget(held)

    async def _adopt(self, held: Held, now: float) -> None:
        if min(held.exp, held.until) <= now:
            held.serves = False
            await self._end(held, now)
        elif not held.serves or any(self._revocations.revoked(call) is not None for call in held.calls):
            self.begin(held)
        else:
            self.begin(*self._holding.put(held))
            self._holding.serve(held)

    async def _take_back(self, held: Held) -> None:
        with suppress(NotKept):  # then it is lost if this process is killed before it is done
            await self._ledger.keep(held)
        done, why = await self._tried(held)
        await self._telling.tell("revoked" if done else "not_revoked", held, why)
        await self._ledger.forget(held)

    async def _tried(self, held: Held) -> tuple[bool, str | None]:
        """Whether the server has done it; else why not."""
        pause = AGAIN_S[0]
        while self._clock.now() < held.exp:
            try:
                await self._asker.revoke(held.server, held.token, 0)
            except AnswerRefused as refused:
                return False, str(refused)
            except (NoWay, Unreachable):
                await asyncio.sleep(pause)
                pause = min(2 * pause, AGAIN_S[1])
            else:
                return True, None
        return False, "it ended first"
