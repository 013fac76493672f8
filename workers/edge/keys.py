"""The fabric's JWKS (RFC 7517 section 5) for verifiers that are not on the bus.  ETag: RFC 9110 section 8.8.3."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Literal, Protocol

from weft.digest import sha256

from schemas.keys import JWKSet

SHARED_S = 5.0  # one answer of the registry serves everyone this long
MAX_AGE_S = 30  # of a verifier's copy: what a compromised key may cost those who are not on the bus


class KeysUnavailable(Exception):
    """The bus did not answer in time, or not in form."""


class AsksKeys(Protocol):
    """The bus, as far as this needs it."""

    async def keys(self, purpose: Literal["tokens", "status"] = "tokens") -> JWKSet:
        """The public keys of that purpose.  Raises KeysUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Document:
    """As served."""

    body: bytes
    etag: str

    @classmethod
    def of(cls, found: JWKSet) -> Document:
        """Public members alone: what a private key would add is left out whatever the answer held."""
        keys = [{name: value for name, value in key.items() if name in PUBLIC_MEMBERS} for key in found.keys]
        body = json.dumps({"keys": keys}, separators=(",", ":"), sort_keys=True).encode()
        return cls(body, f'"{sha256(body)}"')


PUBLIC_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops"})  # RFC 7517 section 4, RFC 7518 section 6


class Keys:
    """At most one question in `SHARED_S`; no answer, no document."""

    def __init__(self, bus: AsksKeys, purpose: Literal["tokens", "status"] = "tokens") -> None:
        self._bus = bus
        self._purpose: Literal["tokens", "status"] = purpose
        self._lock = asyncio.Lock()
        self._last: tuple[float, Document] | None = None

    async def document(self) -> Document:
        """The document, at most `SHARED_S` old.  Raises KeysUnavailable."""
        async with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > SHARED_S:
                self._last = None
                self._last = (time.monotonic(), Document.of(await self._bus.keys(self._purpose)))
            return self._last[1]
