"""Status lists for verifiers that are not on the bus: draft-ietf-oauth-status-list-20 section 8.1, and the keys that sign them.

The media type is the one type there is; a historical query (`?time=`) is answered 501, section 8.4.  Answers are shared for a second, and
of what can be no list of now nobody is asked: verifiers refuse whose list they cannot get, and strangers ask for any number.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from weft.digest import sha256
from weft.statuslist import MEDIA_TYPE

from schemas.points import Failure
from schemas.reasons import DenyReason
from schemas.status import LIST_ANSWERED, LIST_ASKED, PERIOD_S, ListAnswered, ListAsked
from streams.subjects import EDGE_STATUS
from workers.common.asking import Unanswered
from workers.edge.bus import Bus
from workers.edge.describe import ERROR, Description, answer, operation
from workers.edge.faces.jwks import etags, serve_keys
from workers.edge.faces.status import NO_STORE
from workers.edge.keys import Keys

SHARED_S = 1.0
AROUND_NOW = 4  # periods, before and after: far more than a list stands for, and a clock is off by
MAX_SHARED = 16
DEADLINE_S = 3.0
_LIST = re.compile(r"[0-9]{1,12}", re.ASCII)


class AsksLists(Protocol):
    """The bus, as far as this needs it."""

    async def status_list(self, number: str) -> ListAnswered | Failure:
        """The list.  Raises Unanswered."""
        ...


class BusLists:
    """`AsksLists` on the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def status_list(self, number: str) -> ListAnswered | Failure:
        """Asks whichever copy of `revocation`."""
        asked = ListAsked(list=number)
        return await self._bus.ask(EDGE_STATUS.at(), LIST_ASKED, asked, LIST_ANSWERED, ListAnswered, deadline_s=DEADLINE_S)


class Lists:
    """At most one question per list in `SHARED_S`.  What is not a list of now is not remembered."""

    def __init__(self, bus: AsksLists, clock: Callable[[], float] = time.time) -> None:
        self._bus = bus
        self._clock = clock
        self._locks: dict[int, asyncio.Lock] = {}
        self._held: OrderedDict[str, tuple[float, ListAnswered]] = OrderedDict()

    async def get(self, number: str) -> ListAnswered | Failure | None:
        """The list; none for a number that is no list's of now.  Raises Unanswered."""
        present, wanted = int(self._clock()) // PERIOD_S, int(number)
        if abs(wanted - present) > AROUND_NOW or number != str(wanted):
            return None
        self._locks = {period: lock for period, lock in self._locks.items() if abs(period - present) <= AROUND_NOW}
        async with self._locks.setdefault(wanted, asyncio.Lock()):
            at, held = self._held.get(number, (0.0, None))
            if held is not None and time.monotonic() - at <= SHARED_S:
                return held
            self._held.pop(number, None)
            found = await self._bus.status_list(number)
            if isinstance(found, ListAnswered):
                self._held[number] = (time.monotonic(), found)
                if len(self._held) > MAX_SHARED:
                    self._held.popitem(last=False)
            return found


def routes(lists: Lists, keys: Keys) -> list[Route]:
    """`/status/{list}`, `/status/jwks.json`."""

    async def status_list(request: Request) -> Response:
        number = request.path_params["list"]
        if "time" in request.query_params:
            return JSONResponse({"error": "historical_status_not_supported"}, 501, NO_STORE)
        if _LIST.fullmatch(number) is None:
            return JSONResponse({"error": "not_found"}, 404, NO_STORE)
        try:
            found = await lists.get(number)
        except Unanswered:
            return JSONResponse({"error": "unavailable"}, 503, NO_STORE)
        if not isinstance(found, ListAnswered):
            unknown = found is None or found.reason is DenyReason.NOT_FOUND
            return JSONResponse({"error": "not_found" if unknown else "unavailable"}, 404 if unknown else 503, NO_STORE)
        headers = {"etag": f'"{sha256(found.token)}"', "cache-control": f"public, max-age={found.max_age_s}, must-revalidate"}
        if headers["etag"] in etags(request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        return Response(found.token, 200, headers, MEDIA_TYPE)

    async def jwks(request: Request) -> Response:
        return await serve_keys(request, keys)

    return [Route("/status/jwks.json", jwks), Route("/status/{list}", status_list)]


_JWKS = {"type": "object", "required": ["keys"], "properties": {"keys": {"type": "array", "items": {"type": "object"}}}}
_LIST_PARAMETER = {
    "name": "list",
    "in": "path",
    "required": True,
    "description": "as the token's `status.status_list.uri` names it",
    "schema": {"type": "string", "pattern": "^[0-9]{1,12}$"},
}

DESCRIPTION = Description(
    paths={
        "/status/{list}": {
            "get": operation(
                "status_list",
                "A Status List Token, draft-ietf-oauth-status-list section 8.1.",
                {
                    "200": answer("the signed list", {"type": "string"}, MEDIA_TYPE),
                    "304": {"description": "as the ETag says"},
                    "404": answer("no list of now: the last of its tokens has expired, or it never was one", ERROR),
                    "501": answer("historical queries are not supported", ERROR),
                    "503": answer("the fabric did not answer, or cannot vouch for its lists now", ERROR),
                },
                parameters=[_LIST_PARAMETER],
            )
        },
        "/status/jwks.json": {
            "get": operation(
                "status_jwks",
                "The public keys of status lists, RFC 7517 section 5.  They sign nothing else.",
                {
                    "200": answer("the keys", _JWKS, "application/jwk-set+json"),
                    "304": {"description": "as the ETag says"},
                    "503": answer("the fabric did not answer", ERROR),
                },
            )
        },
    }
)
