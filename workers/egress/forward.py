"""One accepted call, forwarded: the ASGI application behind the guard of one tool.

1.  The credential of this call, from the broker.  2.  Out to the record's upstream, at an address that was checked
(workers.common.outbound).  3.  The answer's status: redirects and refused credentials are the fabric's affair, not the caller's.  4.  Its
headers and body, decoded and scrubbed, within the record's limits.  5.  The credential is overwritten.

An answer that had begun and cannot be ended is cut off, so that its reader cannot take it for whole.  Nothing of URL, header or body is
logged.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from typing import Any

import structlog
from weft.asgi import Message, Receive, Scope, Send, answer
from weft.verified import Verified

from schemas.egress import Egress
from schemas.facts import Tool
from workers.common import log
from workers.common.outbound import Outbound, OutboundFailed, OutboundRefused, Streamed
from workers.egress.decode import Decoder, Undecodable, decoder
from workers.egress.exchange import Headers, returned_headers, sent_headers, url_of
from workers.egress.releases import NotReleased, Releases, Secret
from workers.egress.room import Full, Room
from workers.egress.scrub import Scrubber

NO_BODY = (204, 304)
Body = bytes | AsyncIterable[bytes]
logger = structlog.get_logger()


class Failed(Exception):
    """The call ends with this status and error; `what` is for the log."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


class Forwarder:
    """For one tool, as its record stands."""

    def __init__(self, tool: Tool, egress: Egress, mount: str, *, releases: Releases, outbound: Outbound, room: Room) -> None:
        self._tool = tool
        self._room = room
        self._egress = egress
        self._mount = mount
        self._releases = releases
        self._outbound = outbound

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending, verified = _Sending(send, receive), scope["weft"]
        try:
            with self._room.taken(verified.token.act.instance, self._tool.name):
                async with asyncio.timeout(self._egress.timeout_s):
                    await self._forward(scope, await self._body(scope, receive), sending)
        except Full:
            await self._end(sending, Failed(429, "too_many_in_flight"))
        except TimeoutError:
            await self._end(sending, Failed(504, "upstream_timeout"))
        except Failed as failed:
            await self._end(sending, failed)
        except Exception as error:  # noqa: BLE001 - a bug; its text may quote a header, so neither text nor trace goes anywhere
            await self._end(sending, Failed(500, f"internal_{type(error).__name__}"))

    async def _body(self, scope: Scope, receive: Receive) -> Body:
        """What the guard has read, or, where the token binds none of it, what comes."""
        if not streams_request(self._tool):
            body: bytes = (await receive())["body"]
            return body
        lengths = [value for name, value in scope["headers"] if name in (b"content-length", b"transfer-encoding")]
        return _arriving(receive, self._egress.max_request_bytes) if any(value != b"0" for value in lengths) else b""

    async def _end(self, sending: _Sending, failed: Failed) -> None:
        logger.warning(log.UPSTREAM_FAILED, tool=self._tool.name, error=failed.error, begun=sending.begun)
        if not sending.begun:  # else the server ends the connection: an answer without an end
            await answer(sending.send, failed.status, failed.error)

    async def _forward(self, scope: Scope, body: Body, sending: _Sending) -> None:
        verified: Verified = scope["weft"]
        try:
            async with self._releases.released(verified.token.raw, self._tool.name) as secret:  # 1
                await self._exchange(scope, body, secret, sending)
        except NotReleased as refused:
            raise Failed(503, f"credential_{refused.reason}") from None
        except OutboundRefused:
            raise Failed(502, "upstream_not_allowed") from None
        except OutboundFailed as failed:
            raise Failed(504 if failed.reason == "timeout" else 502, f"upstream_{failed.reason}") from None

    async def _exchange(self, scope: Scope, body: Body, secret: Secret, sending: _Sending) -> None:
        egress, query = self._egress, scope.get("query_string", b"").decode("latin-1")
        path = scope["raw_path"].decode("latin-1")[len(self._mount) :]
        url, headers = url_of(egress, path, query, secret.text), sent_headers(egress, scope["headers"], secret.text)
        async with self._outbound.stream(scope["method"], url, headers=headers, body=body, idle_s=egress.idle_s) as streamed:  # 2
            check_status(streamed.status)  # 3
            scrubber = Scrubber(_shown_forms(egress, secret))
            await self._while_wanted(self._return(streamed, scope["method"], scrubber, sending), sending)  # 4

    async def _while_wanted(self, returning: Coroutine[Any, Any, None], sending: _Sending) -> None:
        """Until it is returned, or the caller has gone; where a body streams, the upstream may still be reading it, and this runs on."""
        if streams_request(self._tool):
            return await returning
        work, gone = asyncio.ensure_future(returning), asyncio.ensure_future(sending.gone())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Failed(499, "caller_gone")
            return work.result()
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _return(self, streamed: Streamed, method: str, scrubber: Scrubber, sending: _Sending) -> None:
        coding = next((value for name, value in streamed.headers if name == "content-encoding"), "")
        try:
            decoding = decoder(coding)
        except Undecodable:
            raise Failed(502, "upstream_coding") from None
        headers = returned_headers(streamed.headers, decoded=coding.strip().lower() not in ("", "identity"))
        await sending.start(streamed.status, _scrubbed(headers, scrubber))
        if method != "HEAD" and streamed.status not in NO_BODY:
            async for part in _body(streamed, decoding, self._egress.max_response_bytes):
                await sending.part(scrubber.feed(part))
            await sending.part(scrubber.finish())
        await sending.end()


class _Sending:
    """The caller's side; remembers whether the answer has begun."""

    def __init__(self, send: Send, receive: Receive) -> None:
        self.send = send
        self._receive = receive
        self.begun = False

    async def gone(self) -> None:
        """Returns when the caller has closed the connection; its body was read before."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, headers: Headers) -> None:
        """The head."""
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        message: Message = {"type": "http.response.start", "status": status, "headers": raw}
        self.begun = True
        await self.send(message)

    async def part(self, data: bytes) -> None:
        """Some of the body."""
        if data:
            await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """All of it was sent."""
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})


def streams_request(tool: Tool) -> bool:
    """Whether a request's body may go on as it comes: nothing of it is bound, or says what the call is about."""
    return "body" not in tool.bind and not tool.object_fields


async def _arriving(receive: Receive, most: int) -> AsyncIterator[bytes]:
    """Parts of the caller's body, no more than the record allows.  Raises Failed."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise Failed(400, "body_refused")
        part: bytes = message.get("body", b"")
        size, more = size + len(part), message.get("more_body", False)
        if size > most:
            raise Failed(413, "body_refused")
        yield part


def check_status(status: int) -> None:
    """Raises Failed for what is not for the caller: where else to go (nobody checked that), and that our credential is not taken."""
    if 300 <= status < 400 and status != 304:
        raise Failed(502, "upstream_redirected")
    if status in (401, 407):
        raise Failed(502, "upstream_unauthenticated")
    if status < 200:
        raise Failed(502, "upstream_protocol")


async def _body(streamed: Streamed, decoding: Decoder, most: int) -> AsyncIterator[bytes]:
    """Decoded parts, no more than the record allows.  Raises Failed."""
    size = 0
    try:
        async for chunk in streamed.chunks:
            for part in decoding.feed(chunk):
                size += len(part)
                if size > most:
                    raise Failed(502, "upstream_too_large")
                yield part
        decoding.finish()
    except Undecodable:
        raise Failed(502, "upstream_coding") from None


def _shown_forms(egress: Egress, secret: Secret) -> list[bytes]:
    """The secret, and the one that Basic makes of it (its own base64 would else be found in part only)."""
    value = bytes(secret.value)
    if egress.inject.by != "basic":
        return [value]
    return [value, base64.b64encode(f"{egress.inject.user}:".encode() + value)]


def _scrubbed(headers: Headers, scrubber: Scrubber) -> Headers:
    """Names too: nobody says that an echo keeps to values."""
    return [(_text(name, scrubber), _text(value, scrubber)) for name, value in headers]


def _text(text: str, scrubber: Scrubber) -> str:
    return scrubber.all(text.encode("latin-1")).decode("latin-1")
