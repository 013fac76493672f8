"""Transmitters of the facts, with the keys that they publish (RFC 7517) where their fact says where those are.

Fetched when first needed and once an hour; within a second, all SETs together, when one names a key that is not known: keys are
used the moment they are published.  A set that cannot be fetched again is believed for a day; a SET whose key could not be looked for is
neither good nor bad.  Keys of the fact itself count besides.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from schemas.facts import Transmitter
from schemas.fetching import Fetch
from workers.common import log
from workers.common.clock import Clock
from workers.common.fetching import FetchUnavailable
from workers.signals.transmitter.ports import Fetches
from workers.signals.verify import HELD_BACK_S, KeyUnknown, SETRefused, VerifiedSET, verify_set

FRESH_S = 3600.0
STALE_S = 86_400.0
AGAIN_S = 1.0  # between two fetches for the sake of unknown keys; a SET waits for the next, less than transmitters wait for an answer
MAX_KEYS = 64
MAX_BYTES = 65_536
logger = structlog.get_logger()


class KeysUnavailable(SETRefused):
    """Nobody knows whether it is good: the transmitter's keys could not be fetched.  To be sent again."""


@dataclass
class _Held:
    keys: tuple[dict[str, Any], ...]
    fetched_at: float
    tried_at: float

    @property
    def failed(self) -> bool:
        """Whether the last try came to nothing."""
        return self.fetched_at < self.tried_at


class Transmitters:
    """`get` answers from memory; `refresh` fetches."""

    def __init__(self, of_facts: Callable[[str], Transmitter | None], fetches: Fetches, clock: Clock) -> None:
        self._of_facts = of_facts
        self._fetches = fetches
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._version = 0

    def get(self, iss: str) -> Transmitter | None:
        """The transmitter, with every key of its that is known now."""
        found = self._of_facts(iss)
        if found is None or found.jwks_uri is None:
            return found
        held = self._held.get(found.jwks_uri)
        if held is None or self._clock.now() - held.fetched_at > STALE_S:
            return found
        own = found.jwks.get("keys", ())
        return found.model_copy(update={"jwks": {"keys": [*own, *held.keys]}})

    @property
    def version(self) -> int:
        """Another one once keys were fetched."""
        return self._version

    def verify_known(self, unverified: str, now: float) -> VerifiedSET:
        """`verify` with the keys that are known, at once.  Raises SETRefused, KeyUnknown where it is for want of one."""
        return verify_set(unverified, self.get, now=now, max_age_s=HELD_BACK_S)

    async def verify(self, unverified: str, now: float, *, max_age_s: int = HELD_BACK_S) -> VerifiedSET:
        """`verify_set`, which fetches the transmitter's keys where one is missing.  Raises SETRefused, also as KeysUnavailable.

        A SET that is stored was young enough when it came, whichever way that was: `max_age_s` is for those that come.
        """
        try:
            return verify_set(unverified, self.get, now=now, max_age_s=max_age_s)
        except KeyUnknown as refused:
            if not await self.refresh(refused.iss, unknown_key=True):
                raise self._unavailable(refused) or refused from None
        return verify_set(unverified, self.get, now=now, max_age_s=max_age_s)

    def _unavailable(self, refused: SETRefused) -> KeysUnavailable | None:
        found = self._of_facts(refused.iss) if refused.iss is not None else None
        held = self._held.get(found.jwks_uri or "") if found is not None else None
        if held is None or not held.failed:
            return None
        return KeysUnavailable(refused.err, "the transmitter's keys could not be fetched", refused.iss)

    async def refresh(self, iss: object, *, unknown_key: bool = False) -> bool:
        """Fetch its keys if they are due, or if one is missing; whether there are new ones to look at."""
        found = self._of_facts(iss) if isinstance(iss, str) else None
        uri = found.jwks_uri if found is not None else None
        if uri is None:
            return False
        asked_at = self._clock.now()
        async with self._locks.setdefault(uri, asyncio.Lock()):
            held = self._held.get(uri)
            if held is not None and held.fetched_at >= asked_at:
                return True  # somebody else has just done it
            if held is not None:
                early_s = (AGAIN_S if unknown_key else FRESH_S) - (self._clock.now() - held.tried_at)
                if early_s > 0 and (held.failed or not unknown_key):
                    return False
                await asyncio.sleep(min(max(early_s, 0.0), AGAIN_S))
            return await self._fetch(uri, held)

    async def _fetch(self, uri: str, held: _Held | None) -> bool:
        now = self._clock.now()
        keys = await self._keys(uri)
        if keys is None:
            logger.warning(log.TRANSMITTER_KEYS_UNAVAILABLE)
            self._held[uri] = _Held(held.keys if held else (), held.fetched_at if held else now - STALE_S - 1, now)
            return False
        self._held[uri] = _Held(keys, now, now)
        self._version += 1
        return True

    async def _keys(self, uri: str) -> tuple[dict[str, Any], ...] | None:
        try:
            got = await self._fetches.fetch(
                Fetch(use="transmitters", method="GET", url=uri, headers=(("Accept", "application/json"),), max_bytes=MAX_BYTES)
            )
        except FetchUnavailable:
            return None
        if got.status != 200:
            return None
        try:
            keys = json.loads(got.body)["keys"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return None
        if not isinstance(keys, list) or len(keys) > MAX_KEYS:
            return None
        return tuple(key for key in keys if isinstance(key, dict))
