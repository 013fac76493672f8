"""The egress's HTTP side: from a path to a tool, its guard and its forwarder.

`/<tool>/...` below the base that the settings name; anything else is `not_found`, like a tool that is unknown, not ours, or not active.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import ValidationError
from weft.asgi import GuardMiddleware, Receive, Routes, Scope, Send, answer
from weft.guard import Guard
from weft.records import Tool as Attached

from schemas.facts import Tool
from workers.common.outbound import Outbound
from workers.egress.exchange import NotPlain, check_plain
from workers.egress.forward import Forwarder, streams_request
from workers.egress.releases import Releases
from workers.egress.room import Room

MAX_HELD = 4096  # tools


class Served:
    """A tool behind its guard."""

    def __init__(self, tool: Tool, guard: Guard, base: str, *, releases: Releases, outbound: Outbound, room: Room) -> None:
        if tool.egress is None:
            raise ValueError("no tool of the egress")
        self.egress = tool.egress
        self.mount = f"{base}/{tool.name}"
        routes: Routes = {(route.method, f"{self.mount}{route.path}"): (tool.name, route.actions) for route in self.egress.routes}
        forwarder = Forwarder(tool, self.egress, self.mount, releases=releases, outbound=outbound, room=room)
        most = self.egress.max_request_bytes
        self.app = GuardMiddleware(
            forwarder, guard, routes=routes, mount=self.mount, max_body_bytes=most, read_body=not streams_request(tool)
        )


class Service:
    """The ASGI application."""

    def __init__(self, guard: Guard, url: str, releases: Releases, outbound: Outbound) -> None:
        self._guard = guard
        self._base = urlsplit(url).path.rstrip("/")
        self._releases = releases
        self._outbound = outbound
        self._room = Room()
        self._served: dict[str, tuple[Mapping[str, object], Served | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = (scope.get("raw_path") or b"").decode("latin-1")
        if path == "/healthz":
            return await _healthy(send)
        if path == "/readyz":
            return await answer(send, 200 if self.ready() else 503, "ready" if self.ready() else "not_ready")
        served = self._of(path)
        if served is None:
            return await answer(send, 404, "not_found")
        try:
            check_plain(path, scope.get("query_string", b"").decode("latin-1"), served.egress.inject)
        except NotPlain:
            return await answer(send, 400, "path_not_plain")
        return await served.app(scope, receive, send)

    def ready(self) -> bool:
        """Whether a call could be served: the guard's view is within the strictest budget."""
        return self._guard.view_age() <= min((tool.staleness_s for tool in self._guard.tools.values()), default=3)

    def _of(self, path: str) -> Served | None:
        if not path.startswith(f"{self._base}/"):
            return None
        name = path[len(self._base) + 1 :].partition("/")[0]
        attached = self._guard.tools.get(name)
        if attached is None:
            return None
        held = self._served.get(name)
        if held is None or held[0] is not attached.record:
            if len(self._served) >= MAX_HELD:
                self._served.clear()
            held = self._served[name] = (attached.record, self._build(attached))
        return held[1]

    def _build(self, attached: Attached) -> Served | None:
        try:
            tool = Tool.model_validate_json(json.dumps(attached.record))
            return Served(tool, self._guard, self._base, releases=self._releases, outbound=self._outbound, room=self._room)
        except (ValidationError, ValueError):
            return None  # a record that we cannot read is served by nobody


async def _healthy(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"no-store")]})
    await send({"type": "http.response.body", "body": b""})
