"""The OAuth face: token endpoint, introspection, revocation, and the metadata document.  RFC 6749, RFC 7009, RFC 7662, RFC 8414, RFC 8693.

It takes a request apart, asks the broker, and says what it is told.  It judges no credential and keeps nothing; no answer of these
endpoints may be cached.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Literal, Protocol
from urllib.parse import parse_qsl, urlsplit

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from config.limits import OAuthLimits
from schemas.oauth import MAX_FORM_BYTES, MAX_PARAMETERS, Answered, Asked, ClientCertificate, Refusal
from workers.common.addresses import name_of
from workers.common.asking import Unanswered
from workers.common.buckets import Buckets
from workers.edge.faces import oauth_metadata
from workers.edge.faces.status import NO_STORE

TOKEN, INTROSPECT, REVOKE = "/oauth/token", "/oauth/introspect", "/oauth/revoke"
BODIES = {TOKEN: MAX_FORM_BYTES, INTROSPECT: MAX_FORM_BYTES, REVOKE: MAX_FORM_BYTES}
FORM = "application/x-www-form-urlencoded"
DEADLINE_S = 5.0
HEADERS = {**NO_STORE, "pragma": "no-cache"}  # RFC 6749 section 5.1
METADATA_MAX_AGE_S = 300
Endpoint = Literal["token", "introspect", "revoke"]


class Asks(Protocol):
    """The bus, as far as this face needs it."""

    async def oauth(self, asked: Asked) -> Answered:
        """The broker's answer.  Raises workers.common.asking.Unanswered."""
        ...


class NotAForm(Exception):
    """The body is not what these endpoints take; the text names the rule."""


@dataclass(frozen=True, slots=True)
class Face:
    """What the face needs."""

    bus: Asks
    issuer: str
    certificate: Callable[[Request], ClientCertificate | None] = lambda _request: None
    mtls: bool = False
    limits: Buckets = field(default_factory=lambda: address_limits(OAuthLimits()))  # of one address


def address_limits(limits: OAuthLimits) -> Buckets:
    """Of one address, all endpoints together, before anything of it is read: who only guesses has no identity to be limited by."""
    return Buckets(limits.address.rate_per_s, limits.address.burst)


def routes(face: Face) -> list[Route]:
    """All of it.  The metadata document stands at the path that RFC 8414 section 3 makes of the issuer."""
    document = oauth_metadata.document(face.issuer, mtls=face.mtls)

    async def metadata(_request: Request) -> Response:
        return JSONResponse(document, headers={"cache-control": f"public, max-age={METADATA_MAX_AGE_S}"})

    return [
        Route(TOKEN, _endpoint(face, "token", TOKEN), methods=["POST"]),
        Route(INTROSPECT, _endpoint(face, "introspect", INTROSPECT), methods=["POST"]),
        Route(REVOKE, _endpoint(face, "revoke", REVOKE), methods=["POST"]),
        Route(oauth_metadata.WELL_KNOWN + urlsplit(face.issuer).path.rstrip("/"), metadata),
    ]


def _endpoint(face: Face, name: Endpoint, path: str) -> Callable[[Request], Any]:
    async def serve(request: Request) -> Response:
        caller = name_of(address_of(request))
        if not face.limits.take(caller):
            refusal = Refusal(error="temporarily_unavailable", error_description="too many requests")
            return _refused(429, refusal, {"retry-after": str(face.limits.wait_s(caller))})
        try:
            parameters = read_form(request, await request.body())
            asked = _asked(face, request, name, path, parameters)
        except NotAForm as error:
            return _refused(400, Refusal(error="invalid_request", error_description=str(error)))
        except ValidationError:
            return _refused(400, Refusal(error="invalid_request", error_description="a header or a parameter is too long"))
        try:
            answered = await face.bus.oauth(asked)
        except Unanswered:
            return _refused(503, Refusal(error="temporarily_unavailable", error_description="try again"), {"retry-after": "1"})
        return _response(answered, asked.id)

    return serve


def read_form(request: Request, body: bytes) -> tuple[tuple[str, str], ...]:
    """RFC 6749 appendix B; nothing in the URL (RFC 6749 section 2.3.1, RFC 7662 section 4).  Raises NotAForm."""
    if request.url.query:
        raise NotAForm("parameters stand in the body and not in the URL")
    media, _, rest = request.headers.get("content-type", "").partition(";")
    if media.strip().lower() != FORM or rest.strip().lower() not in ("", "charset=utf-8"):
        raise NotAForm(f"the body is {FORM}")
    try:
        return tuple(parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS))
    except ValueError:
        raise NotAForm("the body is not a form of UTF-8 parameters") from None


def _asked(face: Face, request: Request, name: Endpoint, path: str, parameters: tuple[tuple[str, str], ...]) -> Asked:
    authorization = request.headers.get("authorization")
    return Asked(
        endpoint=name,
        id=f"oauth-{token_hex(16)}",
        parameters=parameters,
        authorization=None if authorization is None else authorization.strip().partition(" ")[0][:64],
        certificate=face.certificate(request),
        proofs=tuple(request.headers.getlist("dpop")),
        url=face.issuer.rstrip("/") + path,
        address=address_of(request),
        deadline=time.time() + DEADLINE_S,
    )


def address_of(request: Request) -> str:
    """Where it came from, as `workers.edge.limits` found it."""
    return request.client.host if request.client is not None else "-"


def _response(answered: Answered, identifier: str) -> Response:
    headers = {**HEADERS, "weft-explanation": identifier}
    if answered.challenge is not None:
        headers["www-authenticate"] = answered.challenge
    if answered.retry_after_s is not None:
        headers["retry-after"] = str(answered.retry_after_s)
    if answered.dpop_nonce is not None:
        headers["dpop-nonce"] = answered.dpop_nonce
    if answered.body is None:
        return Response(status_code=answered.status, headers=headers)
    return JSONResponse(answered.body, answered.status, headers)


def _refused(status: int, refusal: Refusal, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(refusal.plain(), status, {**HEADERS, **(headers or {})})
