"""The HTTP application: the faces' routes behind the limits.  docs/contracts/edge.openapi.json describes it (workers.edge.openapi)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from workers.edge.faces.status import NO_STORE
from workers.edge.limits import BodyTooLarge, BodyTooSlow, Limits
from workers.edge.openapi import DOCUMENT


def application(routes: Iterable[BaseRoute], bodies: Mapping[str, int] | None = None) -> Starlette:
    """The ASGI application.  `bodies`: how many bytes of body a request below that path may have; elsewhere none."""

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
        middleware=[Middleware(Limits, bodies=dict(bodies or {}))],
        exception_handlers={Exception: broken, BodyTooLarge: too_large, BodyTooSlow: too_slow},
    )
