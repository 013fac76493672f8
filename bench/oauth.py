"""The token endpoint over HTTP, beside the edge answering without a question: what authentication, decision, record and signature cost.

Each request is authenticated anew (RFC 7523), its assertion is claimed once on CLAIMS, its issuance is acknowledged by RECORD: two commits
to disk.  One process holds all workers and the client, so that the rate is what one machine does and no more.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx

from bench.figures import Figure, percentile
from tests.support import fabric as real
from tests.support.oauth_fabric import UNLIMITED, Clients, fabric

REQUESTS, CONNECTIONS = 1500, 16
FORM = "application/x-www-form-urlencoded"


async def figures() -> list[Figure]:
    """Requests a second and p99, of client_credentials and of an exchange."""
    with tempfile.TemporaryDirectory() as folder:
        server = await real.start(Path(folder) / "state")
        try:
            async with fabric(server, **UNLIMITED) as (clients, _, __):
                return await _measured(clients)
        finally:
            await server.close()


async def _measured(clients: Clients) -> list[Figure]:
    host = urlsplit(clients.settings.issuer).netloc
    bare, _, __ = await _load(host, [_get(host)] * REQUESTS)
    async with httpx.AsyncClient(base_url=clients.settings.issuer) as http:
        token = (await http.post("/oauth/token", data=clients.exchange())).json()["access_token"]
    shown = {"token": token, **clients.svid()}  # a JWT-SVID is not claimed, and nothing is recorded: no commit at all
    taken = {
        "token endpoint, client_credentials": [
            _post(host, "/oauth/token", {"grant_type": "client_credentials", **clients.proven()}) for _ in range(REQUESTS)
        ],
        "token endpoint, exchange": [_post(host, "/oauth/token", clients.exchange()) for _ in range(REQUESTS)],
        "introspection by a JWT-SVID": [_post(host, "/oauth/introspect", shown)] * REQUESTS,
    }
    found = []
    for name, requests in taken.items():
        rate, times, processor_s = await _load(host, requests)
        found += [
            Figure.beside(name, rate, "req/s", bare),
            Figure(f"{name} p50", round(percentile(times, 0.5) * 1e3, 2), "ms"),
            Figure(f"{name} p99", round(percentile(times, 0.99) * 1e3, 2), "ms"),
            Figure(f"{name} processor", round(processor_s * 1e3, 2), "ms/req"),
        ]
    return found


def _get(host: str) -> bytes:
    return f"GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()


def _post(host: str, path: str, form: dict[str, str]) -> bytes:
    body = urlencode(form).encode()
    return f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {FORM}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def _load(host: str, requests: list[bytes]) -> tuple[float, list[float], float]:
    """Requests a second over `CONNECTIONS` kept connections, how long each took, sorted, and this process's processor time for one."""
    waiting, taken = list(requests), []

    async def connection() -> None:
        name, _, port = host.partition(":")
        reader, writer = await asyncio.open_connection(name, int(port))
        while waiting:
            started = time.perf_counter()
            writer.write(waiting.pop())
            await _answered(reader)
            taken.append(time.perf_counter() - started)
        writer.close()

    started, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return len(requests) / (time.perf_counter() - started), sorted(taken), (time.process_time() - used) / len(requests)


async def _answered(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.split(b"\r\n")[0].decode())
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))
