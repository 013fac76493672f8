"""A small authorization server over real HTTP, for tests without node: opaque tokens to whoever asks, and a list of what was revoked."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs


@dataclass
class TokenServer:
    """`away`: it answers nobody, as behind a proxy that cannot reach it."""

    port: int = 0
    issued: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    away: bool = False
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # somebody asked while it was away

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until_revoked(self, tokens: set[str], within_s: float = 20) -> None:
        """Until it was told to revoke all of these."""
        async with asyncio.timeout(within_s):
            while not tokens <= set(self.revoked):  # noqa: ASYNC110 - another process tells it
                await asyncio.sleep(0.02)

    async def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].split("\r\n")[0])
        form = parse_qs((await reader.readexactly(length)).decode())
        status, body = self._answer(head.split(" ")[1], form)
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    def _answer(self, path: str, form: dict[str, list[str]]) -> tuple[int, bytes]:
        if self.away:
            self.asked.set()
            return 502, b"<html>"
        if path == "/revoke":
            self.revoked += form["token"]
            return 200, b""
        token = f"opaque-{secrets.token_urlsafe(24)}"
        self.issued.append(token)
        return 200, json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 60}).encode()


@asynccontextmanager
async def token_server() -> AsyncIterator[TokenServer]:
    """Listening on 127.0.0.1."""
    made = TokenServer()
    server = await asyncio.start_server(made.on_connection, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
