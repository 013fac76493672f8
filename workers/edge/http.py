"""The routes.  docs/contracts/edge.openapi.json is their description, generated from here (workers.edge.openapi)."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workers.edge.keys import MAX_AGE_S, Keys, KeysUnavailable
from workers.edge.limits import Limits
from workers.edge.openapi import DOCUMENT
from workers.edge.readiness import Readiness

NO_STORE = {"cache-control": "no-store"}


def application(readiness: Readiness, keys: Keys) -> Starlette:
    """The ASGI application."""

    async def healthz(_request: Request) -> Response:
        """Alive: this very loop answered.  Says nothing about the fabric."""
        return JSONResponse({"alive": True}, headers=NO_STORE)

    async def readyz(_request: Request) -> Response:
        verdict = await readiness.verdict()
        return JSONResponse({"ready": verdict.ready, "workers": list(verdict.workers)}, 200 if verdict.ready else 503, NO_STORE)

    async def jwks(request: Request) -> Response:
        try:
            document = await keys.document()
        except KeysUnavailable:
            return JSONResponse({"error": "unavailable"}, 503, NO_STORE)
        headers = {"etag": document.etag, "cache-control": f"public, max-age={MAX_AGE_S}, must-revalidate"}
        if document.etag in _etags(request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        return Response(document.body, 200, headers, "application/jwk-set+json")

    async def openapi(_request: Request) -> Response:
        return JSONResponse(DOCUMENT)

    async def broken(_request: Request, _error: Exception) -> Response:
        return JSONResponse({"error": "internal"}, 500, NO_STORE)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/.well-known/jwks.json", jwks),
            Route("/openapi.json", openapi),
        ],
        middleware=[Middleware(Limits)],
        exception_handlers={Exception: broken},
    )


def _etags(header: str) -> set[str]:
    """RFC 9110 section 13.1.2; weak comparison, as for any GET."""
    return {item.strip().removeprefix("W/") for item in header.split(",")}
