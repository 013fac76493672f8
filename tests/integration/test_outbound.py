"""Outgoing HTTP against real sockets: what is sent, what is refused before anything is sent, what ends in time."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager, suppress

import pytest

from config.settings import OutboundPrivate, Settings
from schemas.fetching import FETCH, FETCHED, Fetch, Fetched
from schemas.points import Failure
from schemas.reasons import DenyReason
from streams.bus import event
from tests.support.workers import running
from workers.common.asking import ask
from workers.common.fetching import Fetcher
from workers.common.outbound import Outbound, OutboundFailed, OutboundRefused, Rules
from workers.edge import app as edge
from workers.supervisor.certificates import Authority, Place
from workers.supervisor.waiting import free_port

LOOPBACK = Rules.of(["127.0.0.0/8"])


@asynccontextmanager
async def answering(answer: bytes | None, tls: ssl.SSLContext | None = None):
    """A server that says this to everyone, or nothing; yields its port and what it heard."""
    heard = []

    async def serve(reader, writer):
        with suppress(OSError, EOFError):  # the client may have ended it
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            if answer is not None:
                writer.write(answer)
                await writer.drain()
            else:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


@pytest.fixture
async def outbound():
    client = Outbound(LOOPBACK)
    yield client
    await client.aclose()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Y: z\r\n\r\nhi"


async def test_what_is_asked_is_sent_and_nothing_else(outbound):
    async with answering(OK) as (port, heard):
        got = await outbound.request("POST", f"http://127.0.0.1:{port}/a?b", headers=[("X-A", "1"), ("Host", "evil")], body=b"{}")
    assert (got.status, got.body, got.header("x-y")) == (200, b"hi", "z")
    lines = heard[0].split(b"\r\n")
    assert lines[0] == b"POST /a?b HTTP/1.1"
    sent = {line.partition(b":")[0].lower(): line.partition(b":")[2].strip() for line in lines[1:] if line}
    assert sent == {b"host": f"127.0.0.1:{port}".encode(), b"x-a": b"1", b"accept-encoding": b"identity", b"content-length": b"2"}


async def test_a_redirect_is_an_answer(outbound):
    async with answering(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n") as (port, heard):
        assert (await outbound.request("GET", f"http://127.0.0.1:{port}/")).status == 302
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000, "too_large"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + 3 * (b"8000\r\n" + b"x" * 0x8000 + b"\r\n"), "too_large"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "protocol"),
        (b"garbage\r\n\r\n", "protocol"),
        (b"", "protocol"),
        (None, "timeout"),
    ],
)
async def test_what_is_no_answer(outbound, answer, reason):
    async with answering(answer) as (port, _):
        with pytest.raises(OutboundFailed) as failed:
            await outbound.request("GET", f"http://127.0.0.1:{port}/", deadline_s=0.5)
    assert failed.value.reason == reason


async def test_nobody_there(outbound):
    with pytest.raises(OutboundFailed) as failed:
        await outbound.request("GET", f"http://127.0.0.1:{free_port()}/")
    assert failed.value.reason == "unreachable"


async def test_a_name_that_stands_for_a_private_address_is_not_called(monkeypatch):
    """INVARIANT: the address that is connected to is the one that was checked, whatever the name's owner answers afterwards.

    Checking the name and letting the HTTP client resolve it again would break it (DNS rebinding).
    """
    answers = [["127.0.0.1"], ["93.184.215.14", "127.0.0.1"], ["10.0.0.1"]]
    asked = []

    async def resolve(_loop, host, port, **_):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers[len(asked) - 1]]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", resolve)
    client = Outbound(Rules())
    try:
        for _ in answers:
            with pytest.raises(OutboundRefused):
                await client.request("GET", "https://rebound.example/", deadline_s=1)
        assert asked == ["rebound.example"] * 3, "each once"
    finally:
        await client.aclose()


async def test_tls_is_verified_against_the_host(tmp_path):
    authority, place = Authority("test"), Place(tmp_path / "cert.pem", tmp_path / "key.pem")
    authority.issue(place, ("127.0.0.1",))
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place.cert, place.key)
    async with answering(OK, context) as (port, _):
        trusting, strange = Outbound(LOOPBACK, ca=tmp_path / "ca.pem"), Outbound(LOOPBACK)
        try:
            assert (await trusting.request("GET", f"https://127.0.0.1:{port}/")).status == 200
            for client, host in ((strange, "127.0.0.1"), (trusting, "127.0.0.2")):
                with pytest.raises(OutboundFailed):
                    await client.request("GET", f"https://{host}:{port}/")
        finally:
            await trusting.aclose()
            await strange.aclose()


async def test_a_worker_has_the_edge_fetch(fabric_server):
    settings: Settings = fabric_server.settings.model_copy(
        update={"edge_port": free_port(), "outbound_private": OutboundPrivate(transmitters=("127.0.0.0/8",))}
    )
    async with running(edge.build, settings), answering(OK) as (port, _):
        signals = await fabric_server.worker("signals")
        fetcher = Fetcher(signals, source="/weft/signals")
        got = await fetcher.fetch(Fetch(use="transmitters", method="GET", url=f"http://127.0.0.1:{port}/"))
        assert (got.status, got.body) == (200, "hi")
        assert (
            await fetcher.fetch(Fetch(use="transmitters", method="GET", url="https://10.0.0.1/"))
        ).refused == "the address is not a global one"
        assert (
            await fetcher.fetch(Fetch(use="transmitters", method="GET", url=f"http://127.0.0.1:{free_port()}/"))
        ).failed == "unreachable"
        for use in ("metadata", "receivers"):
            elsewhere = await fetcher.fetch(Fetch(use=use, method="GET", url=f"http://127.0.0.1:{port}/"))
            assert elsewhere.refused == "the address is not a global one", "a network is allowed for its own use alone"
        nonsense = event(FETCH, Failure(reason=DenyReason.INTERNAL, detail=""), source="/x")
        refused = await ask(signals, "weft.edge.fetch", nonsense, FETCHED, Fetched, deadline_s=5)
        assert isinstance(refused, Failure)
        assert refused.reason == "malformed"
