"""Where transmitters push Security Event Tokens to us.  RFC 8935 section 2.

`/ssf/receive/<subscription>` for a stream that we asked for, with the Authorization header that we asked for; `/ssf/receive` for a
transmitter that was set up by hand, whose signature is all that counts.  The body goes to `signals` as it came; its verdict is the answer.
"""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.points import SET_ANSWERED, SET_DELIVERED, Failure, SetAnswer, SetDelivery
from schemas.reasons import DenyReason
from streams.subjects import SET
from workers.common.asking import Unanswered
from workers.edge.bus import Bus
from workers.edge.describe import Description, answer, operation
from workers.edge.faces.status import NO_STORE

BODIES = {"/ssf/receive": 16_384}
MEDIA = "application/secevent+jwt"
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)


def routes(bus: Bus) -> list[Route]:
    """Both."""

    async def receive(request: Request) -> Response:
        delivered = await _read(request)
        if isinstance(delivered, Response):
            return delivered
        try:
            said = await bus.ask(SET.at("edge"), SET_DELIVERED, delivered, SET_ANSWERED, SetAnswer)
        except Unanswered:
            said = None
        if isinstance(said, Failure) and said.reason is DenyReason.RATE_LIMITED:
            return JSONResponse({"error": "rate_limited"}, 429, {**NO_STORE, "retry-after": "5"})
        if said is None or isinstance(said, Failure):  # it may be good, and could not be stored: to be sent again
            return JSONResponse({"error": "unavailable"}, 503, {**NO_STORE, "retry-after": "1"})
        if said.accepted:
            return Response(status_code=202, headers=NO_STORE)
        return _refused(str(said.err), said.description or "")

    return [Route("/ssf/receive", receive, methods=["POST"]), Route("/ssf/receive/{subscription}", receive, methods=["POST"])]


async def _read(request: Request) -> SetDelivery | Response:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA:
        return _refused("invalid_request", f"the content type is not {MEDIA}")
    body = (await request.body()).decode("latin-1").strip()
    name = request.path_params.get("subscription")
    headers = request.headers.getlist("authorization")
    if not _COMPACT.fullmatch(body):
        return _refused("invalid_request", "the body is not a compact JWS")
    if name is not None and not _NAME.fullmatch(name):
        return _refused("authentication_failed", "no such stream")
    if len(headers) > 1 or len("".join(headers)) > 4096:
        return _refused("authentication_failed", "more than one Authorization header, or a longer one than any")
    return SetDelivery(set=body, subscription=name, authorization=headers[0] if headers else None)


def _refused(err: str, description: str) -> Response:
    """RFC 8935 section 2.4; who did not show the stream's credential is told so by HTTP as well (RFC 9110 section 15.5.2)."""
    headers = {**NO_STORE, "content-language": "en"}
    if err != "authentication_failed":
        return JSONResponse({"err": err, "description": description}, 400, headers)
    return JSONResponse({"err": err, "description": description}, 401, {**headers, "www-authenticate": "Bearer"})


_ERR = {
    "type": "object",
    "required": ["err", "description"],
    "properties": {"err": {"type": "string"}, "description": {"type": "string"}},
}


def _push(name: str, summary: str) -> dict[str, object]:
    responses = {
        "202": {"description": "stored; SIGNALS acknowledged it"},
        "400": answer("refused, and why (RFC 8935 section 2.4)", _ERR),
        "401": answer("not what we asked the transmitter to send", _ERR),
        "429": answer("more than this transmitter may say in a minute: send it later", {"type": "object"}),
        "503": answer("nobody could store it: send it again", {"type": "object"}),
    }
    body = {"required": True, "content": {MEDIA: {"schema": {"type": "string"}}}}
    return {"post": operation(name, summary, responses, requestBody=body)}


_PARAMETER = {"name": "subscription", "in": "path", "required": True, "schema": {"type": "string"}}
DESCRIPTION = Description(
    paths={
        "/ssf/receive": _push("receive", "A Security Event Token of a transmitter set up by hand, RFC 8935."),
        "/ssf/receive/{subscription}": {
            **_push("receive_subscribed", "A Security Event Token of a stream that this fabric asked for, RFC 8935."),
            "parameters": [_PARAMETER],
        },
    }
)
