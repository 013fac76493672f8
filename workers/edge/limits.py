"""What one caller may do to the edge: a token bucket per address, no bodies, and headers that tell browsers to keep out."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

RATE_PER_S = 50.0
BURST = 100.0
ADDRESSES = 4096  # remembered; the one longest unseen is forgotten first
SECURITY = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "strict-transport-security": "max-age=31536000",
}


class Buckets:
    """Token buckets by address, bounded in number."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> bool:
        """One request from there: may it pass?"""
        now = self._clock()
        left, at = self._buckets.pop(address, (BURST, now))
        left = min(BURST, left + (now - at) * RATE_PER_S)
        passed = left >= 1
        self._buckets[address] = (left - 1 if passed else left, now)
        if len(self._buckets) > ADDRESSES:
            self._buckets.popitem(last=False)
        return passed


class Limits:
    """ASGI middleware, outermost."""

    def __init__(self, app: ASGIApp, buckets: Buckets | None = None) -> None:
        self._app = app
        self._buckets = buckets or Buckets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY)
            await send(message)

        await self._refusal_or_app(scope)(scope, receive, secured)

    def _refusal_or_app(self, scope: Scope) -> ASGIApp:
        client = scope.get("client")
        if not self._buckets.take(client[0] if client else "-"):
            return JSONResponse({"error": "rate_limited"}, 429, {"retry-after": "1"})
        names = {name for name, _ in scope["headers"]}
        if b"transfer-encoding" in names or dict(scope["headers"]).get(b"content-length", b"0") != b"0":
            return JSONResponse({"error": "body_not_expected"}, 413, {"connection": "close"})
        return self._app
