"""An HTTP client whose every connection goes to an address that was checked (httpcore: no redirects, no proxy settings).

The host is resolved once per connection, all its addresses are checked, and the connection is made to one of them: no second look-up
can answer differently.  TLS is verified against the host of the URL.  Answers are limited in size and time; an answer that
redirects is an answer like any other.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpcore

from workers.common.outbound.rules import OutboundRefused, Rules

DEADLINE_S = 5.0
MAX_BYTES = 65_536
CONNECT_S = 3.0
CONNECTIONS = 64
IDLE_S = 10.0
Headers = Sequence[tuple[str, str]]
_OURS = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection"})


class OutboundFailed(Exception):
    """Sent or tried, and no whole answer came: `unreachable`, `tls`, `timeout`, `too_large`, `protocol`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """Header names in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """The first of that name."""
        return next((value for known, value in self.headers if known == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer whose body is still coming.  Iterating raises OutboundFailed."""

    status: int
    headers: tuple[tuple[str, str], ...]
    chunks: AsyncIterator[bytes] = field(repr=False)


class Outbound:
    """One pool of connections.  `ca`: PEM of authorities that are trusted besides the machine's own."""

    def __init__(self, rules: Rules, *, ca: Path | None = None, context: ssl.SSLContext | None = None) -> None:
        """`context` replaces the trust store, and brings a client certificate where one is needed."""
        self._rules = rules
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context or _trust(ca),
            max_connections=CONNECTIONS,
            keepalive_expiry=IDLE_S,
            network_backend=_Checked(rules),
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: bytes = b"",
        deadline_s: float = DEADLINE_S,
        max_bytes: int = MAX_BYTES,
    ) -> Answer:
        """The whole answer.  Raises OutboundRefused, OutboundFailed; both within the deadline."""
        try:
            async with asyncio.timeout(deadline_s), self.stream(method, url, headers=headers, body=body, idle_s=deadline_s) as streamed:
                read = bytearray()
                async for chunk in streamed.chunks:
                    read += chunk
                    if len(read) > max_bytes:
                        raise OutboundFailed("too_large")
                return Answer(streamed.status, streamed.headers, bytes(read))
        except TimeoutError:
            raise OutboundFailed("timeout") from None

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, headers: Headers = (), body: bytes | AsyncIterable[bytes] = b"", idle_s: float = DEADLINE_S
    ) -> AsyncIterator[Streamed]:
        """The answer as it comes, with at most `idle_s` between its parts; its size is the caller's to limit."""
        host = self._rules.check_url(url).netloc
        timeout = {"connect": CONNECT_S, "read": idle_s, "write": idle_s, "pool": CONNECT_S}
        content = body if isinstance(body, bytes) else _Guarded(body)
        with _translated():
            request = httpcore.Request(
                method, url, headers=_sent(host, headers, body), content=content or None, extensions={"timeout": timeout}
            )
            response = await self._pool.handle_async_request(request)
        try:
            got = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers)
            yield Streamed(response.status, got, _chunks(response))
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class _translated:  # noqa: N801 - reads as the words it is used in
    """httpcore's errors as ours; what is raised elsewhere passes."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        match error:
            case httpcore.TimeoutException():
                raise OutboundFailed("timeout") from None
            case httpcore.ConnectError():
                raise OutboundFailed("tls" if isinstance(error.__context__, ssl.SSLError) else "unreachable") from None
            case httpcore.NetworkError():
                raise OutboundFailed("unreachable") from None
            case httpcore.ProtocolError():
                raise OutboundFailed("protocol") from None


class _Guarded:
    """A body that is sent as it is read; what its source raises is the source's."""

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._source = source

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._source:
            if chunk:
                yield chunk


async def _chunks(response: httpcore.Response) -> AsyncIterator[bytes]:
    with _translated():
        async for chunk in response.aiter_stream():
            yield chunk


def _sent(host: str, headers: Headers, body: bytes | AsyncIterable[bytes]) -> list[tuple[bytes, bytes]]:
    """What was asked for, but for what is this client's to write; no compression unless asked for."""
    given = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers]
    sent = [(b"host", host.encode("ascii")), *((name, value) for name, value in given if name not in _OURS)]
    if all(name != b"accept-encoding" for name, _ in sent):
        sent.append((b"accept-encoding", b"identity"))
    length = (b"content-length", str(len(body)).encode()) if isinstance(body, bytes) else (b"transfer-encoding", b"chunked")
    return [*sent, length] if body else sent


def _trust(ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(cafile=ca)
    return context


class _Checked(httpcore.AsyncNetworkBackend):
    """Resolves, checks every address, connects to one of those."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See httpcore.  Raises OutboundRefused where one of the host's addresses is not allowed."""
        addresses = await _resolve(host, port, timeout)
        for address in addresses:
            self._rules.check_address(ip_address(address))
        for address in addresses[:-1]:
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.NetworkError:
                continue
        return await self._backend.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise OutboundRefused("not a network address")

    async def sleep(self, seconds: float) -> None:
        """See httpcore."""
        await self._backend.sleep(seconds)


async def _resolve(host: str, port: int, timeout_s: float | None) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise httpcore.ConnectTimeout("resolving") from None
    except (OSError, UnicodeError):
        raise httpcore.ConnectError("resolving") from None
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
