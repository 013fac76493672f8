"""A guard before an ASGI application.  ASGI 3.0 HTTP; draft-ietf-oauth-transaction-tokens-10 section 1.6 (the header `Txn-Token`); RFC 9449
section 7.1 (`DPoP`, where the tool's record asks for a proof); RFC 6750 section 2.1 (`Authorization`, for tools that take access tokens).

Only listed routes are served, each under a tool and its actions.  The body is read first, since the token is bound to it.  The
application finds the verified call in `scope["weft"]` and may say `Weft-Outcome: positive` or `negative`; the use is on RECORD before
the answer goes out, and its sequence is the answer's `Weft-Record`.  A call that is revoked while it runs is cancelled; an answer
that had begun is left unfinished, so that its reader cannot take it for whole.

Left to the HTTP server: TLS, and how long a client may take.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from weft.dpop import ALGORITHMS
from weft.enforcement import Asked
from weft.errors import GuardReason, Refused
from weft.guard import Guard
from weft.verified import Outcome, Verified

MAX_BODY_BYTES = 1_048_576
BODY_DEADLINE_S = 30.0

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Routes = Mapping[tuple[str, str], tuple[str, tuple[str, ...]]]
Header = tuple[bytes, bytes]

_UNAVAILABLE = {GuardReason.VIEW_STALE, GuardReason.VIEW_BEHIND, GuardReason.CLAIM_UNAVAILABLE, GuardReason.INTERNAL}
_UNAUTHENTICATED = {
    GuardReason.MISSING,
    GuardReason.MALFORMED,
    GuardReason.TOO_LARGE,
    GuardReason.SIGNATURE,
    GuardReason.EXPIRED,
    GuardReason.NOT_YET,
    GuardReason.AUDIENCE,
    GuardReason.PROOF_MISSING,
    GuardReason.PROOF_INVALID,
    GuardReason.SVID_INVALID,
}


def status_of(reason: GuardReason) -> int:
    """401: this is no token for here. 503: come back. 403: everything else."""
    return 401 if reason in _UNAUTHENTICATED else 503 if reason in _UNAVAILABLE else 403


class BodyRefused(Exception):
    """The body was not read to its end; `status` says why."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


class GuardMiddleware:
    """`routes` maps method and path to tool and actions; a path may end in `*`, and the longest one that fits counts.

    `mount` is the part of the path that belongs to the tool's registered endpoint; the token is bound to what follows.  With
    `read_body` false the body is left to the application as it comes, for tools whose record binds none: a token that binds one is refused.
    """

    def __init__(
        self, app: App, guard: Guard, *, routes: Routes, mount: str = "", max_body_bytes: int = MAX_BODY_BYTES, read_body: bool = True
    ) -> None:
        self._app = app
        self._read_body = read_body
        self._max_body_bytes = max_body_bytes
        self._guard = guard
        self._mount = mount.rstrip("/")
        self._exact = {route: served for route, served in routes.items() if not route[1].endswith("*")}
        prefixes = [((method, path[:-1]), served) for (method, path), served in routes.items() if path.endswith("*")]
        self._prefixes = sorted(prefixes, key=lambda item: -len(item[0][1]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # no token is bound to what it would carry

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        served = self._route(scope["method"], scope["path"])
        if served is None:
            return await answer(send, 404, "not_found")
        try:
            body = await read_body(receive, self._max_body_bytes) if self._read_body else None
            shown = _shown(scope["headers"])
            verified = await self._guard.check(shown.token, self._asked(scope, served, body or b"", shown))
        except BodyRefused as refused:
            return await answer(send, refused.status, "body_refused")
        except Refused as refused:
            return await answer(send, status_of(refused.reason), refused.reason, _challenge(refused.reason, scope["headers"]))
        scope["weft"] = verified
        return await _Exchange(self._guard, verified, body, receive, send).run(self._app, scope)

    def _route(self, method: str, path: str) -> tuple[str, tuple[str, ...]] | None:
        exact = self._exact.get((method, path))
        return exact or next((served for (m, prefix), served in self._prefixes if m == method and path.startswith(prefix)), None)

    def _asked(self, scope: Scope, served: tuple[str, tuple[str, ...]], body: bytes, shown: _Shown) -> Asked:
        sent = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
        if not sent.startswith(self._mount):
            raise Refused(GuardReason.WRONG_CALL, "outside the tool's endpoint")
        query = scope.get("query_string", b"").decode("latin-1")
        path = sent[len(self._mount) :] + (f"?{query}" if query else "")
        return Asked(served[0], served[1], scope["method"], path, body, proof=shown.proof, svid=shown.svid)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a request carries.  Which of it counts, the tool's record says; the guard holds it to that."""

    token: str | None = field(repr=False)
    svid: str | None = field(repr=False)
    proof: str | None = field(repr=False)


def _shown(headers: Iterable[Header]) -> _Shown:
    """A Transaction Token, and beside it perhaps a JWT-SVID; or an access token.  Raises Refused for a header that comes twice."""
    headers = list(headers)
    txn, proof, authorization = (_one(headers, name) for name in (b"txn-token", b"dpop", b"authorization"))
    scheme, _, credential = (authorization or "").partition(" ")
    access = credential.strip() if scheme.lower() in ("bearer", "dpop") else None
    return _Shown(access, None, proof) if txn is None else _Shown(txn, access, proof)


class _Exchange:
    """One accepted request: the application runs, and what it sends passes through here."""

    def __init__(self, guard: Guard, verified: Verified, body: bytes | None, receive: Receive, send: Send) -> None:
        self._guard = guard
        self._verified = verified
        self._body = body
        self._receive = receive
        self._send = send
        self._started = False
        self._reported = False

    async def run(self, app: App, scope: Scope) -> None:
        """Until the application ends, or the call is revoked."""
        running = asyncio.ensure_future(app(scope, self.receive, self.send))
        revoked = asyncio.create_task(self._verified.cancelled.wait())
        try:
            await asyncio.wait({running, revoked}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await self._revoked(running)
            else:
                await self._ended(running)
        finally:
            for task in (running, revoked):
                task.cancel()
            await asyncio.gather(running, revoked, return_exceptions=True)

    async def receive(self) -> Message:
        """The body that was verified, then whatever the server says."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Reports the use, then lets the answer begin."""
        if self._verified.cancelled.is_set():
            return
        if message["type"] == "http.response.start":
            message = await self._begin(message)
            if self._verified.cancelled.is_set():  # while it was reported
                return
            self._started = True
        await self._send(message)

    async def _begin(self, message: Message) -> Message:
        headers: list[Header] = list(message.get("headers", ()))
        seq = await self._report(_outcome(message["status"], headers))
        kept = [(name, value) for name, value in headers if name.lower() not in (b"weft-outcome", b"weft-record")]
        return {**message, "headers": [*kept, *([] if seq is None else [(b"weft-record", str(seq).encode())])]}

    async def _report(self, outcome: Outcome, reason: GuardReason | None = None) -> int | None:
        self._reported = True
        return await self._guard.report(self._verified, outcome, reason=reason)

    async def _revoked(self, running: asyncio.Future[None]) -> None:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if not self._reported:
            await self._report("none", GuardReason.REVOKED)
        if not self._started:
            await answer(self._send, status_of(GuardReason.REVOKED), GuardReason.REVOKED)

    async def _ended(self, running: asyncio.Future[None]) -> None:
        if not self._reported:
            await self._report("negative" if running.exception() is not None else "none")
        await running  # its exception is the server's to answer


def _challenge(reason: GuardReason, headers: Iterable[Header]) -> tuple[Header, ...]:
    """RFC 9449 section 7.1: the proof is what is wrong, and these algorithms are verified; RFC 6750 section 3 for an access token."""
    if reason in (GuardReason.PROOF_MISSING, GuardReason.PROOF_INVALID):
        return ((b"www-authenticate", f'DPoP error="invalid_dpop_proof", algs="{" ".join(sorted(ALGORITHMS))}"'.encode()),)
    if reason in _UNAUTHENTICATED and any(name.lower() == b"authorization" for name, _ in headers):
        return ((b"www-authenticate", b'Bearer error="invalid_token"'),)
    return ()


async def read_body(receive: Receive, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The whole body; raises BodyRefused for one that is too large, too slow, or ends early."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BodyRefused(400)
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                if size > max_bytes:
                    raise BodyRefused(413)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise BodyRefused(408) from None


async def answer(send: Send, status: int, error: str, challenge: tuple[Header, ...] = ()) -> None:
    """A refusal, and nothing else that could tell anything."""
    body = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *challenge,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _one(headers: Iterable[Header], wanted: bytes) -> str | None:
    """The one header of that name, in lower case; raises Refused for several (RFC 9449 section 4.3, check 1)."""
    found = [value for name, value in headers if name.lower() == wanted]
    if len(found) > 1:
        raise Refused(GuardReason.MALFORMED, f"more than one {wanted.decode()}")
    return found[0].decode("latin-1") if found else None


def _outcome(status: int, headers: Iterable[Header]) -> Outcome:
    """The application's own word, else its status."""
    said = {value.strip().lower() for name, value in headers if name.lower() == b"weft-outcome"}
    if said:
        return "positive" if said == {b"positive"} else "negative"
    return "positive" if 200 <= status < 300 else "negative"
