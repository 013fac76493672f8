"""Health and readiness."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workers.edge.describe import Description, answer, operation
from workers.edge.readiness import Readiness

NO_STORE = {"cache-control": "no-store"}


def routes(readiness: Readiness) -> list[Route]:
    """`/healthz`, `/readyz`."""

    async def healthz(_request: Request) -> Response:
        """Alive: this very loop answered.  Says nothing about the fabric."""
        return JSONResponse({"alive": True}, headers=NO_STORE)

    async def readyz(_request: Request) -> Response:
        verdict = await readiness.verdict()
        return JSONResponse({"ready": verdict.ready, "workers": list(verdict.workers)}, 200 if verdict.ready else 503, NO_STORE)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


_WORKER = {
    "type": "object",
    "required": ["worker", "ready", "copies", "fresh", "recorded", "facts", "revocations"],
    "properties": {
        "worker": {"type": "string"},
        "ready": {"type": "boolean", "description": "a copy answered, its views are fresh, its canary was acknowledged"},
        "copies": {"type": "integer", "description": "that had answered when the verdict was reached"},
        "fresh": {"type": "boolean"},
        "recorded": {"type": ["boolean", "null"], "description": "RECORD acknowledged the canary; null: this worker sings none"},
        "facts": {"type": ["integer", "null"], "description": "revision of its facts view"},
        "revocations": {"type": ["integer", "null"], "description": "its revocation counter"},
    },
}
_READY = {
    "type": "object",
    "required": ["ready", "workers"],
    "properties": {"ready": {"type": "boolean"}, "workers": {"type": "array", "items": _WORKER}},
}

DESCRIPTION = Description(
    paths={
        "/healthz": {
            "get": operation(
                "healthz",
                "Alive: the process answers.",
                {"200": answer("alive", {"type": "object", "required": ["alive"], "properties": {"alive": {"const": True}}})},
            )
        },
        "/readyz": {
            "get": operation(
                "readyz",
                "Ready: every worker has a ready copy, and RECORD acknowledged an event just now.",
                {"200": answer("ready", _READY), "503": answer("not ready, and which worker is not", _READY)},
            )
        },
    }
)
