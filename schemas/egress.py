"""A tool that understands a raw secret and no token: what the egress does for it.  Part of the tool's record (schemas.facts.Tool)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import Code, Name, Wire

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")]  # RFC 9110 section 5.6.2
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
RoutePath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._~!$&'()+,;=:@/-]*\*?$", max_length=256)]


class Injection(Wire):
    """How the upstream is shown the credential."""

    by: Literal["bearer", "header", "basic", "query"] = "bearer"  # RFC 6750 section 2.1; RFC 7617 with `user`
    name: HeaderName | None = None  # of the header or of the query parameter
    prefix: Annotated[str, StringConstraints(pattern=r"^[ -~]{0,32}$")] = ""  # before the value, in a header
    user: Annotated[str, StringConstraints(pattern=r"^[!-9;-~]{1,128}$")] | None = None  # RFC 7617 section 2: no colon


class Route(Wire):
    """What may be called.  `path` follows the tool's endpoint, and the upstream's URL; it may end in `*`."""

    method: Method
    path: RoutePath
    actions: Annotated[tuple[Code, ...], Field(min_length=1)]


class Egress(Wire):
    """The upstream, what of it may be called, and with which credential."""

    upstream: Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#@]+$", max_length=512)]
    credential: Name | None = None  # of the vault; or the token that the tool's `obtain` says
    inject: Injection = Injection()
    routes: Annotated[tuple[Route, ...], Field(min_length=1, max_length=64)]
    request_headers: tuple[HeaderName, ...] = ()  # of the caller's, besides the harmless ones
    timeout_s: Annotated[int, Field(ge=1, le=300)] = 30  # of the whole exchange
    idle_s: Annotated[int, Field(ge=1, le=300)] = 15  # between two parts of the answer
    max_request_bytes: Annotated[int, Field(ge=0, le=16_777_216)] = 1_048_576
    max_response_bytes: Annotated[int, Field(ge=0, le=1_073_741_824)] = 10_485_760
