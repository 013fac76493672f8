"""The JWT bundles as they are now, for streams that tell each change.  Workload API sections 4.4 and 6.2.2."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from schemas.facts import Key


def jwks_by_domain(keys: Iterable[Key]) -> dict[str, bytes]:
    """A JWK Set per trust domain, under its SPIFFE ID: active `svid` keys, and no other use."""
    sets: dict[str, list[dict[str, Any]]] = {}
    for key in keys:
        if key.purpose == "svid" and key.state == "active":
            public = {name: value for name, value in key.jwk.items() if name != "d"}
            sets.setdefault(f"spiffe://{key.trust_domain}", []).append({**public, "kid": key.kid, "use": "jwt-svid"})
    return {domain: json.dumps({"keys": found}).encode() for domain, found in sets.items()}


class BundleBoard:
    """Holds the complete state; who watches gets it at once and again whenever it differs."""

    def __init__(self) -> None:
        self._bundles: dict[str, bytes] = {}
        self._changed = asyncio.Event()

    def post(self, bundles: dict[str, bytes]) -> None:
        """The new complete state."""
        if bundles != self._bundles:
            self._bundles = bundles
            self._changed.set()
            self._changed = asyncio.Event()

    async def watch(self) -> AsyncIterator[dict[str, bytes]]:
        """The state now, then each later one; states that nobody waited for are skipped."""
        while True:
            changed = self._changed
            yield self._bundles
            await changed.wait()
