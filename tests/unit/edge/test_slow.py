"""Who sends slowly holds no connection: there are only so many for everybody (workers.common.httpserver, workers.edge.limits)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from workers.common import httpconnections, httpserver
from workers.common.httpserver import HTTPServer, Listening
from workers.edge import limits
from workers.edge.http import application

GET = b"GET /body HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"


async def _echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(httpconnections, "HEADER_S", 0.3)
    monkeypatch.setattr(limits, "BODY_S", 0.3)
    app = application([Route("/body", _echo, methods=["GET", "POST"])], {"/body": 100})
    server = HTTPServer(app, Listening("127.0.0.1", 0), lambda: None)
    yield server.port
    await server.stop()


async def answered(port: int, *sent: bytes) -> bytes | None:
    """All that comes until the server closes; none: it does not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        got = b""
        for part in sent:
            writer.write(part)
            got += await reader.readuntil(b"\r\n\r\n") if part == GET else b""
        async with asyncio.timeout(httpserver.IDLE_S - 1):
            return got + await reader.read()
    except ConnectionResetError:
        return got
    except TimeoutError:
        return None
    finally:
        writer.close()


@pytest.mark.parametrize("sent", [(), (b"GET /bo",), (b"GET /body HTTP/1.1\r\nHost: a\r\n",), (GET, b"GET /bo")])
async def test_a_head_that_never_ends_ends_the_connection(port: int, sent: tuple[bytes, ...]) -> None:
    """INVARIANT: no connection is held by who never finishes the head of a request, its first or a later one.

    Broken by waiting: 256 of them, from one address, and the face answers nobody else.
    """
    got = await answered(port, *sent)
    assert got is not None, "the connection is held"
    assert got.startswith(b"HTTP/1.1 200") if GET in sent else got == b""


async def test_a_body_that_never_ends_is_refused(port: int) -> None:
    """INVARIANT: no connection is held by who never finishes a body.  Broken by waiting for the rest of it."""
    got = await answered(port, POST + b"abc")
    assert got is not None, "the connection is held"
    assert got.startswith(b"HTTP/1.1 408")


async def test_who_is_in_time_is_served(port: int) -> None:
    got = await answered(port, POST.replace(b"Host: a", b"Host: a\r\nConnection: close"), b"1234", b"56789")
    assert b"123456789" in (got or b"")
