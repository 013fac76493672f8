"""The connections of an HTTP server are everybody's (workers.common.httpconnections): real sockets, many addresses of 127.0.0.0/8."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from workers.common import httpconnections
from workers.common.httpconnections import Connections
from workers.common.httpserver import HTTPServer, Listening
from workers.edge.http import application
from workers.supervisor.certificates import Authority, Place

GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
SHORT, LONG = 60_000, 8_000_000  # within the buffer of a transport, and beyond every buffer between
DEADLINE_S = 5.0
Server = tuple[HTTPServer, "Book"]


class Book(Connections):
    """Tells when a connection has ended."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.left = asyncio.Event()

    def leave(self, name: str) -> None:
        super().leave(name)
        self.left.set()


async def _sized(request: Request) -> Response:
    return PlainTextResponse(b"x" * {"short": SHORT, "long": LONG, "word": 1}[request.path_params["size"]])


@asynccontextmanager
async def serving(*args: Any, place: Listening | None = None, **more: Any) -> AsyncIterator[Server]:
    book = Book(*args, **more)
    app = application([Route("/{size}", _sized)])
    server = HTTPServer(app, place or Listening("127.0.0.1", 0), lambda: None, connections=book)
    try:
        yield server, book
    finally:
        await server.stop()


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


_OPENED: list[asyncio.StreamWriter] = []


@pytest.fixture(autouse=True)
async def _closed() -> AsyncIterator[None]:
    yield
    for writer in _OPENED:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for writer in _OPENED), return_exceptions=True)
    _OPENED.clear()


async def connected(server: HTTPServer, address: str = "127.0.0.1", **more: Any) -> Stream:
    stream = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(address, 0), **more)
    _OPENED.append(stream[1])
    return stream


async def status(stream: Stream, path: bytes = b"word") -> bytes:
    """Of one request; empty where the server ends the connection instead."""
    reader, writer = stream
    try:
        async with asyncio.timeout(DEADLINE_S):
            writer.write(GET % path)
            return (await reader.readline()).partition(b" ")[2][:3]
    except ConnectionError:
        return b""


async def ended(stream: Stream) -> bool:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await stream[0].read() == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


async def came(event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await event.wait()
    except TimeoutError:
        return False


async def test_one_address_has_its_share_and_no_more() -> None:
    """INVARIANT: one address cannot hold so many connections that another finds none, and gets a place again for each that it gives up.

    Broken by counting them all together: 256 silent sockets of one machine, and the face answers nobody.
    """
    async with serving(8, 3) as (server, book):
        mine = [await connected(server) for _ in range(3)]
        assert [await status(stream) for stream in mine] == [b"200"] * 3
        assert await status(await connected(server)) == b"", "one more than its share"
        assert await status(await connected(server, "127.0.0.2")) == b"200"
        book.left.clear()
        mine[0][1].close()
        assert await came(book.left)
        assert await status(await connected(server)) == b"200"


async def test_a_trusted_proxy_has_as_many_as_there_are() -> None:
    async with serving(8, 2, (ip_network("127.0.0.1/32"),)) as (server, _):
        assert [await status(await connected(server)) for _ in range(6)] == [b"200"] * 6
        others = [await status(await connected(server, "127.0.0.2")) for _ in range(3)]
        assert others == [b"200", b"200", b""]


async def test_where_all_are_taken_the_one_that_waits_longest_makes_room() -> None:
    """INVARIANT: whoever comes with a request is served, however many connections only wait.

    Broken by a limit that counts who is silent like everybody else: many addresses with a few silent sockets each shut everyone out.
    """
    async with serving(4) as (server, _):
        silent = [await connected(server, f"127.0.0.{number}") for number in range(2, 6)]
        assert await status(await connected(server)) == b"200"
        assert await ended(silent[0])
        assert await status(silent[-1]) == b"200", "who came later is still there"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpconnections, "READ_S", 0.3)
    monkeypatch.setattr("workers.common.httpserver.HANDSHAKE_S", 1.0)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("path", [b"short", b"long"])
async def test_who_does_not_read_the_answer_is_cut_off(path: bytes) -> None:
    """INVARIANT: no connection is held by who reads an answer a byte a minute, whether it fits into a buffer or is still being written.

    Broken by waiting for the client to take it.
    """
    async with serving() as (server, book):
        server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # what the kernel takes at once
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", server.port))
            await loop.sock_sendall(client, GET % path)
            async with asyncio.timeout(DEADLINE_S):
                assert await loop.sock_recv(client, 1)
            assert await came(book.left), "the connection is held"


@pytest.mark.usefixtures("soon")
async def test_who_reads_is_given_all_of_it() -> None:
    async with serving() as (server, _):
        reader, writer = await connected(server)
        writer.write(GET % b"long")
        got = 0
        async with asyncio.timeout(DEADLINE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            while got < LONG:
                got += len(await reader.read(100_000))
        assert head.startswith(b"HTTP/1.1 200")


@pytest.mark.usefixtures("soon")
async def test_who_never_finishes_the_handshake_holds_nothing(tmp_path: Path) -> None:
    """INVARIANT: who connects and never speaks TLS is counted like everybody, and ended like everybody.

    asyncio's own server would give it a minute and tell nobody that it is there.
    """
    place = Place(tmp_path / "cert.pem", tmp_path / "key.pem")
    authority = Authority("test")
    authority.issue(place, ("127.0.0.1",))
    async with serving(8, 2, place=Listening("127.0.0.1", 0, place.cert, place.key)) as (server, book):
        silent = [await connected(server) for _ in range(2)]
        assert await ended(await connected(server))
        assert not book.left.is_set(), "its share was taken, by handshakes too: it was not let in"
        assert [await ended(stream) for stream in silent] == [True, True]
        (tmp_path / "ca.pem").write_bytes(authority.pem)
        trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        stream = await connected(server, ssl=trust)
        assert await status(stream) == b"200"
        book.left.clear()
        stream[1].close()
        assert await came(book.left)


async def test_where_nobody_can_be_accepted_the_worker_hears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without a file descriptor left tries again; one that cannot accept for another reason ends."""
    tried, over = asyncio.Event(), asyncio.Event()
    failures: list[Exception] = [OSError(24, "too many"), RuntimeError("a bug")]

    async def accept(*_: Any) -> Any:
        tried.set()
        raise failures.pop(0)

    monkeypatch.setattr("workers.common.httpserver.NO_MORE_FILES_S", 0.0)
    monkeypatch.setattr(type(asyncio.get_running_loop()), "sock_accept", accept)
    server = HTTPServer(application([]), Listening("127.0.0.1", 0), over.set)
    async with asyncio.timeout(DEADLINE_S):
        await tried.wait()
        await over.wait()
    assert not failures
    await server.stop()
