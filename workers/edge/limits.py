"""What one caller may do to the edge: a token bucket per address, bodies where they are expected, headers against browsers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers.common.addresses import Networks, name_of, origin
from workers.common.buckets import Buckets

BODY_S = 10.0  # for a body to be whole
SECURITY = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "strict-transport-security": "max-age=31536000",
}


class BodyTooLarge(Exception):
    """More bytes came than the route takes; raised to whoever reads the body."""


class BodyTooSlow(Exception):
    """It was not whole in time; raised to whoever reads the body."""


class Limits:
    """ASGI middleware, outermost.  `bodies`: path prefix to bytes; the longest prefix counts, elsewhere a body is refused.

    What is behind it finds in `scope["client"]` the address that the request came from (`workers.common.addresses.origin`).
    """

    def __init__(self, app: ASGIApp, buckets: Buckets, bodies: Mapping[str, int] | None = None, proxies: Networks = ()) -> None:
        self._app = app
        self._buckets = buckets
        self._proxies = proxies
        self._bodies = sorted((bodies or {}).items(), key=lambda item: -len(item[0]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY)
            await send(message)

        address = self._origin(scope)
        caller = name_of(address)
        scope = {**scope, "client": (address, 0)}
        most = next((size for prefix, size in self._bodies if _below(scope["path"], prefix)), 0)
        if not self._buckets.take(caller):
            await JSONResponse({"error": "rate_limited"}, 429, {"retry-after": str(self._buckets.wait_s(caller))})(scope, receive, secured)
        elif _declared(scope) > most:
            error = "body_too_large" if most else "body_not_expected"
            await JSONResponse({"error": error}, 413, {"connection": "close"})(scope, receive, secured)
        else:
            await self._app(scope, _counted(receive, most), secured)

    def _origin(self, scope: Scope) -> str:
        client = scope.get("client")
        forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        return origin(client[0] if client else "-", forwarded, self._proxies)


def _below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix.rstrip("/") + "/")


def _declared(scope: Scope) -> int:
    """How long the body says it is; one of unknown length counts as one byte until it is read."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return 1
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else 1


def _counted(receive: Receive, most: int) -> Receive:
    read, whole = 0, False
    ends = asyncio.get_running_loop().time() + BODY_S

    async def counting() -> Message:
        nonlocal read, whole
        try:
            async with asyncio.timeout_at(None if whole else ends):
                message = await receive()
        except TimeoutError:
            raise BodyTooSlow from None
        whole = not message.get("more_body", False)
        read += len(message.get("body", b""))
        if read > most:
            raise BodyTooLarge
        return message

    return counting
