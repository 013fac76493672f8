"""The keys of tokens over time: made on a custodian's word, loaded when a fact names them, destroyed when their last token has expired.

The fact that lets a key sign is the registry's to write, on a registrar's word (`weft keys rotate` does both).  Until then the private half
lies here unused; where no fact ever follows, the next `prepare` sweeps it out.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from schemas.facts import Kind
from streams.facts_table import FactChange, FactsTable
from streams.keys import SigningKey
from workers.broker.keyring import Keyring
from workers.broker.store import NotHeld, Store
from workers.common import keyperiods, log
from workers.common.clock import Clock

UNUSED_S = 600  # a key that no fact has named by then was never published
AGAIN_S = 2.0  # while a key is missing: its maker may be starting
logger = structlog.get_logger()


class Rotation:
    """Keeps the keyring in step with the facts."""

    def __init__(self, facts: FactsTable, keyring: Keyring, store: Store, clock: Clock) -> None:
        self._facts = facts
        self._keyring = keyring
        self._store = store
        self._clock = clock
        self._changed = asyncio.Event()

    async def prepare(self) -> SigningKey:
        """A new key, kept and not yet used."""
        await self.sweep()
        key = await self._store.new_token_key()
        self._keyring.add(key)
        return key

    def changed(self, change: FactChange) -> None:
        """A committed change of facts."""
        if change.kind is Kind.KEY:
            self._changed.set()

    async def load(self) -> None:
        """What the facts let sign and is not held yet, as far as it can be found."""
        for kid in self._keyring.missing():
            with suppress(NotHeld):
                self._keyring.add(await self._store.token_key(kid))

    async def run(self) -> None:
        """For the worker's life."""
        while True:
            await self.load()
            missing = self._keyring.missing()
            if missing:
                logger.warning(log.TOKEN_KEY_MISSING, kids=list(missing))
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S if missing else None):
                    await self._changed.wait()
            self._changed.clear()
            await self._forget_compromised()

    async def sweep(self) -> None:
        """Destroy the private halves that nothing needs: the retired, the compromised, and what no fact ever named."""
        now = self._clock.now()
        phases = {key.kid: keyperiods.phase(key, now) for key in self._facts.keys("tokens")}
        for stored in await self._store.stored_token_keys():
            unused = stored.kid not in phases and stored.at < now - UNUSED_S
            if unused or phases.get(stored.kid) in ("retired", "compromised"):
                await self._destroy(stored.kid)

    async def _forget_compromised(self) -> None:
        for key in self._facts.keys("tokens"):
            if key.state == "compromised" and self._keyring.holds(key.kid):
                await self._destroy(key.kid)

    async def _destroy(self, kid: str) -> None:
        self._keyring.drop(kid)
        await self._store.destroy_token_key(kid)
        logger.info(log.TOKEN_KEY_DESTROYED, kid=kid)
