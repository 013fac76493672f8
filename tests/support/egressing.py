"""Tools behind the egress on a real fabric: a hostile upstream, agents that call through, and everything that anybody could read."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from nats.aio.client import Client
from weft.digest import call_parts

from schemas.facts import Tool
from schemas.invocation import Granted
from tests.support.custody import Custodian
from tests.support.forms import CODINGS, FORMS
from tests.support.invocations import AgentSide
from tests.support.invoking import Invoking

WORKERS = ("revocation", "registry", "broker", "gateway", "audit", "signals", "egress")
TOOL, OTHER = "web-search", "search-agent"


@dataclass
class Upstream:
    """Knows the secret it is called with, and hands it back in whatever form the path asks for: `/echo/<form>?coding=&piece=`."""

    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
                body = await _body_of(reader, headers)
                self.heads.append(head)
                self.bodies.append(body)
                self.arrived.set()
                await self.answer(head, writer)
        writer.close()

    async def answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        url, secret = urlsplit(target), secret_in(head)
        query, what = parse_qs(url.query), url.path.removeprefix("/v1/").split("/")
        match what[0]:
            case "echo":
                await self.echo(writer, FORMS[what[1]](secret), query.get("coding", [""])[0], int(query.get("piece", ["0"])[0]))
            case "status":
                await _plain(writer, int(what[1]), secret.encode(), [f"Location: https://evil.example/?k={secret}", f"X-Key: {secret}"])
            case "headers":
                lines = [f"X-Echo-{number}: {form(secret).decode('latin-1')}" for number, form in enumerate(_printable().values())]
                await _plain(
                    writer,
                    200,
                    b"{}",
                    [*lines, f"Set-Cookie: s={secret}", f"WWW-Authenticate: Basic realm={secret}", "Weft-Outcome: positive"],
                )
            case "hold":
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
                await writer.drain()
                await self.hold.wait()
                await _plain(writer, 200, secret.encode(), [])
            case "large":
                await _plain(writer, 200, b"x" * int(what[1]), [])
            case "half":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + secret.encode())
                await writer.drain()
                writer.close()
            case "coded":
                await _plain(writer, 200, b"\xff\xff\xff garbage", [f"Content-Encoding: {what[1]}"])
            case _:
                await _plain(writer, 200, json.dumps({"method": method, "target": target}).encode() if what[0] == "ok" else b"{}", [])

    async def echo(self, writer: asyncio.StreamWriter, form: bytes, coding: str, piece: int) -> None:
        body = b'{"error": "bad key ' + form + b'", "more": "' + form + b'"}'
        if coding:
            body = CODINGS[coding](body)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{f'Content-Encoding: {coding}' if coding else 'X-A: b'}\r\n"
        if not piece:
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        else:
            writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            for at in range(0, len(body), piece):
                part = body[at : at + piece]
                writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0)  # a packet of its own
            writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _body_of(reader: asyncio.StreamReader, headers: dict[bytes, bytes]) -> bytes:
    if headers.get(b"transfer-encoding") != b"chunked":
        return await reader.readexactly(int(headers.get(b"content-length", b"0")))
    parts = []
    while size := int((await reader.readline()).strip(), 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readline()
    return b"".join(parts)


def _printable() -> dict[str, Any]:
    return {name: form for name, form in FORMS.items() if name not in ("utf-16", "base64-lines")}


async def _plain(writer: asyncio.StreamWriter, status: int, body: bytes, headers: list[str]) -> None:
    lines = "".join(f"{line}\r\n" for line in headers)
    content = b"" if status in (204, 304) else body
    length = "" if status in (204, 304) else f"Content-Length: {len(content)}\r\n"
    writer.write(f"HTTP/1.1 {status} X\r\n{lines}{length}\r\n".encode("latin-1") + content)
    await writer.drain()


def secret_in(head: bytes) -> str:
    """Where the tests' tools put it."""
    for line in head.decode("latin-1").split("\r\n"):
        if line.lower().startswith("x-api-key: "):
            return line[11:]
    return "none"


@dataclass
class Through:
    """An agent's call: what was granted, and what came back, byte for byte."""

    granted: Granted
    response: httpx.Response
    raw: bytes


class Egressing:
    """A fabric with two tools behind the egress, both at one upstream, each with a credential of its own."""

    def __init__(self, invoking: Invoking, upstream: Upstream, keymaster: Custodian, nc: Client, agent: AgentSide, apps: list[Any]) -> None:
        self.invoking, self.upstream, self.keymaster, self.nc, self.agent, self.apps = invoking, upstream, keymaster, nc, agent, apps
        self.http = httpx.AsyncClient(timeout=15)

    @property
    def url(self) -> str:
        return self.invoking.server.settings.egress

    async def grant(self, method: str, path: str, body: bytes = b"", tool: str = TOOL) -> Granted:
        action = "search" if tool == TOOL else "delegate"
        call = call_parts(method, path, body)
        answer = await self.invoking.invoke(self.nc, self.agent, tool=tool, actions=[action], call=call)
        assert isinstance(answer, Granted), answer
        return answer

    async def call(self, method: str, path: str, body: bytes = b"", *, tool: str = TOOL, headers: Any = ()) -> Through:
        """Granted, then made."""
        granted = await self.grant(method, path, body, tool)
        assert granted.endpoint == f"{self.url}/{tool}"
        assert granted.token is not None
        return await self.present(granted, method, path, body, headers=headers)

    async def present(self, granted: Granted, method: str, path: str, body: bytes = b"", *, headers: Any = ()) -> Through:
        """Made with that token."""
        sent = {"Txn-Token": granted.token or "", **dict(headers)}
        request = self.http.build_request(method, granted.endpoint + path, content=body, headers=sent)
        response = await self.http.send(request, stream=True)
        try:
            raw = b"".join([chunk async for chunk in response.aiter_raw()])
        finally:
            await response.aclose()
        return Through(granted, response, raw)


def tool(name: str, server: Any, upstream: Upstream, credential: str, **changes: Any) -> Tool:
    """The record of a tool behind the egress."""
    settings = server.settings
    routes = [
        {"method": method, "path": path, "actions": [_action(name)]} for method, path in (("GET", "/*"), ("POST", "/ok"), ("HEAD", "/ok"))
    ]
    egress = {
        "upstream": f"http://127.0.0.1:{upstream.port}/v1",
        "credential": credential,
        "inject": {"by": "header", "name": "X-Api-Key"},
        "routes": routes,
        "max_request_bytes": 1000,
        "max_response_bytes": 100_000,
        "timeout_s": 2,
    }
    record = {
        "name": name,
        "owner": "o",
        "workload": settings.egress_id,
        "endpoint": f"{settings.egress}/{name}",
        "resource": f"https://{name}.example",
        "actions": [_action(name)],
        "purposes": ["web.search.execute"],
        "egress": egress | changes.pop("egress", {}),
    }
    return Tool.model_validate_json(json.dumps(record | changes))


def _action(name: str) -> str:
    return "search" if name == TOOL else "delegate"


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, limit=100_000)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
        made.hold.set()


async def until(condition: Any, within_s: float = 6) -> None:
    ends = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < ends, "not in time"
        await asyncio.sleep(0.03)
