"""The transmitter of Shared Signals: discovery, stream management, polls.  SSF 1.0 sections 7 and 8, RFC 8936, RFC 6750 section 2.1.

What is read of a request is its bearer token, `stream_id`, and its body; everything else, the status included, `signals` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.points import Failure
from schemas.ssf import ANSWERED, ASKED, MAX_BODY_CHARS, Answered, Asked, Operation
from streams.subjects import EDGE_SSF
from workers.common.asking import Unanswered
from workers.edge.bus import Bus
from workers.edge.faces.ssf_described import DESCRIPTION
from workers.edge.faces.status import NO_STORE

__all__ = ["BODIES", "DESCRIPTION", "routes"]

BODIES = {"/ssf": MAX_BODY_CHARS}
DEADLINE_S = 9.5  # within which the bus lets `signals` answer
LONG_POLL_S = 30.0
PUBLIC = {"cache-control": "public, max-age=60"}  # what a receiver may keep of the document and the keys
MAX_TOKEN_CHARS = 8192
Handler = Callable[[Request], Awaitable[Response]]


def routes(bus: Bus, well_known: str) -> list[Route]:
    """`well_known`: the path of the configuration document, which follows from the issuer's."""

    def on(path: str, **operations: Operation) -> list[Route]:
        return [Route(path, _handler(bus, operation), methods=[method]) for method, operation in operations.items()]

    return [
        *on(well_known, GET="configuration"),
        *on("/ssf/jwks.json", GET="jwks"),
        _of("/ssf/streams", bus, GET="read", POST="create", PATCH="update", PUT="replace", DELETE="delete"),
        _of("/ssf/status", bus, GET="read_status", POST="update_status"),
        _of("/ssf/subjects/add", bus, POST="add_subject"),
        _of("/ssf/subjects/remove", bus, POST="remove_subject"),
        _of("/ssf/verify", bus, POST="verify"),
        _of("/ssf/poll/{stream_id}", bus, POST="poll"),
    ]


def _of(path: str, bus: Bus, **operations: Operation) -> Route:
    """One route for all methods of a path, so that another method is answered with those that there are."""
    handlers = {method: _handler(bus, operation) for method, operation in operations.items()}

    async def by_method(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, by_method, methods=list(operations))


def _handler(bus: Bus, operation: Operation) -> Handler:
    open_to_all = operation in ("configuration", "jwks")

    async def handle(request: Request) -> Response:
        try:
            asked = await _asked(request, operation)
        except UnicodeDecodeError:
            return JSONResponse({"error": "invalid_request", "error_description": "the body is not UTF-8"}, 400, NO_STORE)
        try:
            answer = await _patient(bus, request, asked)
        except Unanswered:
            return JSONResponse({"error": "unavailable"}, 503, {**NO_STORE, "retry-after": "1"})
        return _response(answer, PUBLIC if open_to_all and answer.status == 200 else NO_STORE)

    return handle


async def _asked(request: Request, operation: Operation) -> Asked:
    token = _bearer(request)
    stream_id = request.path_params.get("stream_id") or request.query_params.get("stream_id")
    return Asked(
        operation=operation,
        token=token[:MAX_TOKEN_CHARS] if token is not None else None,  # cut off it verifies as little
        in_query="access_token" in request.query_params,
        stream_id=stream_id[:256] if stream_id is not None else None,
        body=(await request.body()).decode(),
    )


def _bearer(request: Request) -> str | None:
    """RFC 6750 section 2.1: one header, this scheme.  None for anything else."""
    given = request.headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


async def _patient(bus: Bus, request: Request, asked: Asked) -> Answered:
    """A long poll is asked again until there is something, its time has passed, or nobody waits any more."""
    until = asyncio.get_running_loop().time() + LONG_POLL_S
    while True:
        answer = await bus.ask(EDGE_SSF.at(), ASKED, asked, ANSWERED, Answered, deadline_s=DEADLINE_S)
        if isinstance(answer, Failure):
            raise Unanswered(answer.reason)
        left = until - asyncio.get_running_loop().time()
        if not answer.nothing_yet or left <= 0 or await request.is_disconnected():
            return answer


def _response(answer: Answered, caching: dict[str, str]) -> Response:
    headers = dict(caching)
    if answer.challenge is not None:
        headers["www-authenticate"] = answer.challenge
    if answer.retry_after_s is not None:
        headers["retry-after"] = str(answer.retry_after_s)
    if answer.body is None:
        return Response(status_code=answer.status, headers=headers)
    return Response(answer.body, answer.status, headers, "application/json")
