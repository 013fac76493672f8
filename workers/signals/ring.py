"""The keys of SETs and receipts that this worker holds; which of them signs, facts and clock say.

As with the keys of tokens (workers.common.keyperiods): published before use, and every copy changes over by the clock.  The private halves
are files (streams.keys); one that a fact names and that is not held is looked for again, since it was put there after this worker began.
"""

from __future__ import annotations

import math
from typing import Protocol

import structlog

from config.settings import Settings
from schemas.facts import Key, KeyPurpose
from streams.keys import SignalsPurpose, SigningKey, held_keys
from workers.common import keyperiods, log
from workers.common.clock import Clock

AGAIN_S = 2.0  # between looks into the folder for a key that is not there
logger = structlog.get_logger()


class NoSigningKey(Exception):
    """None that the facts let sign now is held here: nothing is said in the fabric's name."""


class Facts(Protocol):
    """What of the facts is read; `streams.facts_table.FactsTable` is one."""

    def keys(self, purpose: KeyPurpose | None = None) -> tuple[Key, ...]:
        """Public keys in every state."""


class Ring:
    """One purpose, and so one algorithm.  Its `repr` shows `kid`s alone."""

    def __init__(self, facts: Facts, clock: Clock, settings: Settings, purpose: SignalsPurpose) -> None:
        self._facts = facts
        self._clock = clock
        self._settings = settings
        self._purpose: SignalsPurpose = purpose
        self._looked = -math.inf
        self._held: dict[str, SigningKey] = {}
        self._look(clock.now())

    @property
    def alg(self) -> str:
        """Of every key in it."""
        return next(iter(self._held.values())).alg

    @property
    def current(self) -> SigningKey:
        """The key of the moment.  Raises NoSigningKey."""
        now = self._clock.now()
        for fact in keyperiods.signing(self._facts.keys(self._purpose), now):
            if fact.kid not in self._held and now >= self._looked + AGAIN_S:
                self._look(now)
            if fact.kid in self._held:
                return self._held[fact.kid]
            logger.warning(log.SIGNING_KEY_MISSING, purpose=self._purpose, kid=fact.kid)
        raise NoSigningKey(f"no key of {self._purpose} that may sign now is held here")

    def _look(self, now: float) -> None:
        self._looked = now
        self._held = {key.kid: key for key in held_keys(self._settings, self._purpose)}

    def __repr__(self) -> str:
        return f"Ring({self._purpose}: {', '.join(self._held)})"
