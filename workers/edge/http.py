"""The HTTP application: the faces' routes behind the limits.  docs/contracts/edge.openapi.json describes it (workers.edge.openapi)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from config.limits import EdgeLimits
from workers.common.buckets import Buckets
from workers.edge.faces.status import NO_STORE
from workers.edge.limits import BodyTooLarge, BodyTooSlow, Limits
from workers.edge.openapi import DOCUMENT


def application(
    routes: Iterable[BaseRoute],
    bodies: Mapping[str, int] | None = None,
    limits: EdgeLimits | None = None,
    proxies: Iterable[str] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Starlette:
    """The ASGI application.  `bodies`: how many bytes of body a request below that path may have; elsewhere none.  `proxies`: networks."""
    rate = limits or EdgeLimits()
    buckets = Buckets(rate.rate_per_s, rate.burst, clock)
    trusted = tuple(ip_network(text) for text in proxies)

    async def openapi(_request: Request) -> Response:
        return JSONResponse(DOCUMENT)

    async def broken(_request: Request, _error: Exception) -> Response:
        return JSONResponse({"error": "internal"}, 500, NO_STORE)

    async def too_large(_request: Request, _error: Exception) -> Response:
        return JSONResponse({"error": "body_too_large"}, 413, {**NO_STORE, "connection": "close"})

    async def too_slow(_request: Request, _error: Exception) -> Response:
        return JSONResponse({"error": "body_too_slow"}, 408, {**NO_STORE, "connection": "close"})

    return Starlette(
        routes=[*routes, Route("/openapi.json", openapi)],
        middleware=[Middleware(Limits, buckets=buckets, bodies=dict(bodies or {}), proxies=trusted)],
        exception_handlers={Exception: broken, BodyTooLarge: too_large, BodyTooSlow: too_slow},
    )
