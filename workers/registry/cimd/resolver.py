"""Fetches metadata documents of clients and tools through the edge, which checks every address before it connects and follows no redirect.

draft-ietf-oauth-client-id-metadata-document-02 section 5: only 200 counts, errors and refused documents are not kept, and what is kept
is kept as long as RFC 9111 lets it, within bounds of ours.  `Watcher` asks again for the clients that were registered from a document, and
says on RECORD when one has changed; what the fabric believes changes only when a registrar accepts it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

import structlog
from weft.digest import sha256

from schemas.cimd import MAX_DOCUMENT_BYTES, Resolved, ResolvedTool
from schemas.facts import Client, Tool
from schemas.fetching import Fetch, Fetched
from workers.common import log
from workers.common.clock import Clock
from workers.common.fetching import FetchUnavailable
from workers.common.recorder import RecordUnavailable
from workers.registry.cimd.document import DocumentRefused, check_url, key_set_url, proposal, read_document, read_key_set
from workers.registry.cimd.resource import metadata_url, read_resource

MIN_FRESH_S, MAX_FRESH_S = 300, 86_400  # however short or long the document says
MAX_KEYS_BYTES = 16_384
DEADLINE_S = 3.5  # of each of the two requests; a command waits for both
WATCH_S = 30.0  # between looks at what is due
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=\"?(\d{1,9})", re.IGNORECASE)
logger = structlog.get_logger()


class Fetches(Protocol):
    """HTTP by the edge; `workers.common.fetching.Fetcher` is one."""

    async def fetch(self, asked: Fetch) -> Fetched:
        """The answer, or why there is none.  Raises FetchUnavailable."""
        ...


class Resolver:
    """A document and its keys, as one proposal."""

    def __init__(self, fetcher: Fetches, client: Callable[[str], Client | None], issuer: str) -> None:
        self._fetcher = fetcher
        self._client = client
        self._issuer = issuer

    async def resolve(self, client_id: str) -> Resolved:
        """What the document at this URL says now.  Raises DocumentRefused, FetchUnavailable."""
        check_url(client_id)
        got = await self._get(client_id, MAX_DOCUMENT_BYTES)
        document = read_document(client_id, got.body.encode(), _header(got, "content-type"))
        keys_at = key_set_url(document)
        keys = None if keys_at is None else (await self._get(keys_at, MAX_KEYS_BYTES)).body
        digest = sha256(f"{got.body}\0{keys or ''}")
        found = proposal(document, None if keys is None else read_key_set(keys.encode()), digest)
        held = self._client(client_id)
        return found.model_copy(update={"fresh_s": fresh_s(_header(got, "cache-control")), "accepted": held.document if held else None})

    async def resolve_tool(self, tool: Tool) -> ResolvedTool:
        """What the metadata of its resource says now.  Raises DocumentRefused, FetchUnavailable."""
        got = await self._get(metadata_url(tool.resource), MAX_DOCUMENT_BYTES)
        digest = sha256(got.body)
        found = read_resource(tool, got.body.encode(), _header(got, "content-type"), issuer=self._issuer, digest=digest)
        return found.model_copy(update={"fresh_s": fresh_s(_header(got, "cache-control"))})

    async def _get(self, url: str, max_bytes: int) -> Fetched:
        asked = Fetch(
            use="metadata", method="GET", url=url, headers=(("accept", "application/json"),), deadline_s=DEADLINE_S, max_bytes=max_bytes
        )
        got = await self._fetcher.fetch(asked)
        if got.refused is not None:
            raise DocumentRefused(f"the address may not be called: {got.refused}")
        if got.failed is not None:
            raise DocumentRefused(f"nothing that counts was answered: {got.failed}")
        if got.status != 200:
            raise DocumentRefused("the answer is not 200; redirects are not followed")
        return got


def fresh_s(cache_control: str) -> int:
    """RFC 9111 section 5.2.2: `max-age`, none for `no-store` and `no-cache`; within our bounds."""
    directives = cache_control.lower()
    found = _MAX_AGE.search(directives)
    asked = 0 if "no-store" in directives or "no-cache" in directives or found is None else int(found[1])
    return min(max(asked, MIN_FRESH_S), MAX_FRESH_S)


def _header(got: Fetched, name: str) -> str:
    return ", ".join(value for key, value in got.headers if key == name)


class Found(Protocol):
    """Of what was resolved, what a watcher asks; `Resolved` and `ResolvedTool` are one."""

    @property
    def document(self) -> str:
        """Its digest."""

    @property
    def accepted(self) -> str | None:
        """Of the one that the fact was made from."""

    @property
    def fresh_s(self) -> int:
        """For how long it may be kept."""


Asks = Mapping[str, Callable[[], Awaitable[Found]]]


def watched(resolver: Resolver, clients: Iterable[Client], tools: Iterable[Tool]) -> Asks:
    """Everything that was registered from a document, by what it is about."""
    asks: dict[str, Callable[[], Awaitable[Found]]] = {}
    for client in clients:
        if client.document is not None and client.state == "active":
            asks[client.client_id] = partial(resolver.resolve, client.client_id)
    for tool in tools:
        if tool.document is not None and tool.state == "active":
            asks[f"tool/{tool.name}"] = partial(resolver.resolve_tool, tool)
    return asks


class Watcher:
    """Documents that change show within their freshness; each new one is told once."""

    def __init__(self, asks: Callable[[], Asks], changed: Callable[[str, Found], Awaitable[None]], clock: Clock) -> None:
        self._asks = asks
        self._changed = changed
        self._clock = clock
        self._due: dict[str, float] = {}
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """For the worker's life."""
        while True:
            await self.look()
            await asyncio.sleep(WATCH_S)

    async def look(self) -> None:
        """Ask again for each document that is due."""
        asks = self._asks()
        self._due = {about: at for about, at in self._due.items() if about in asks}
        for about, ask in sorted(asks.items()):
            if self._due.setdefault(about, 0.0) <= self._clock.now():
                await self._ask(about, ask)

    async def _ask(self, about: str, ask: Callable[[], Awaitable[Found]]) -> None:
        try:
            found = await ask()
            self._due[about] = self._clock.now() + found.fresh_s
            if found.document != found.accepted and self._told.get(about) != found.document:
                await self._changed(about, found)
                self._told[about] = found.document
        except (DocumentRefused, FetchUnavailable, RecordUnavailable) as error:
            self._due[about] = self._clock.now() + MIN_FRESH_S
            logger.warning(log.METADATA_REFUSED, about=about, detail=str(error))
