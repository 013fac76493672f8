"""The token keys that this broker can sign with, by what the facts say and the clock.

Which key signs is decided by facts alone (workers.common.keyperiods), so that all brokers agree without talking.  The private half comes
from the broker's folder, or, where another machine's broker made it, sealed from that one.  A broker that lacks the key goes on with the
last one for a minute, and refuses after that; it never signs with a key that the facts do not name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from schemas.facts import Key, KeyPurpose, Kind
from schemas.reasons import DenyReason
from schemas.token import TOKEN_TYP
from streams.keys import SigningKey
from workers.broker.signer import Committed, TokenSigner
from workers.common import keyperiods
from workers.common.clock import Clock
from workers.common.requests import RequestRefused


class KeyFacts(Protocol):
    """What of the facts is read; `streams.facts_table.FactsTable` is one."""

    def keys(self, purpose: KeyPurpose | None = None) -> tuple[Key, ...]:
        """Public keys in every state."""

    def version(self, kind: Kind) -> int:
        """The revision at which something of this kind last changed."""


class Keyring:
    """Signs with the key of the moment.  Its `repr` shows `kid`s alone."""

    def __init__(self, facts: KeyFacts, clock: Clock, held: Iterable[SigningKey] = ()) -> None:
        self._facts = facts
        self._clock = clock
        self._signers: dict[str, TokenSigner] = {}
        self._current: TokenSigner | None = None
        self._live: frozenset[str] = frozenset()  # whose signatures count
        self._seen = -1
        self._until = -math.inf
        for key in held:
            self.add(key)

    def add(self, key: SigningKey) -> None:
        """Another private half."""
        if not isinstance(key.private, EllipticCurvePrivateKey):
            raise TypeError("not a key that signs tokens")
        self._signers[key.kid] = TokenSigner(key.private, key.kid)
        self._seen = -1

    def drop(self, kid: str) -> None:
        """Forget one."""
        self._signers.pop(kid, None)
        self._seen = -1

    def holds(self, kid: str) -> bool:
        """Whether it is held."""
        return kid in self._signers

    def missing(self) -> tuple[str, ...]:
        """What the facts let sign, now or later, and is not held."""
        live = keyperiods.verifying(self._facts.keys("tokens"), self._clock.now())
        return tuple(key.kid for key in live if key.state == "active" and key.kid not in self._signers)

    @property
    def kid(self) -> str:
        """The key to sign with now.  Raises RequestRefused where none is held that may."""
        return self.current.kid

    @property
    def ready(self) -> bool:
        """Whether there is one."""
        return self._choose() is not None

    @property
    def current(self) -> TokenSigner:
        """The signer of the moment.  Raises RequestRefused."""
        signer = self._choose()
        if signer is None:
            raise RequestRefused(DenyReason.BROKER_UNAVAILABLE, "no key that may sign now is held here")
        return signer

    def size_of(self, payload: bytes, typ: str = TOKEN_TYP) -> int:
        """How many bytes the token will have."""
        return self.current.size_of(payload, typ)

    def issue_token(self, committed: Committed) -> str:
        """The token, by the key that its record names.  Raises RequestRefused where that one may no longer sign."""
        signer = self._signers.get(committed.kid)
        self._choose()
        if signer is None or committed.kid not in self._live:
            raise RequestRefused(DenyReason.BROKER_UNAVAILABLE, "the key of the record may no longer sign")
        return signer.issue_token(committed)

    def _choose(self) -> TokenSigner | None:
        """Anew where a key among the facts has changed, or one's time has come."""
        now, version = self._clock.now(), self._facts.version(Kind.KEY)
        if version != self._seen or now >= self._until:
            keys = self._facts.keys("tokens")
            usable = (self._signers.get(key.kid) for key in keyperiods.signing(keys, now))
            self._current = next((signer for signer in usable if signer is not None), None)
            self._live = frozenset(key.kid for key in keyperiods.verifying(keys, now))
            self._seen, self._until = version, keyperiods.next_change(keys, now)
        return self._current

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._signers)})"
