"""Fetches clients' metadata documents through the edge, which checks every address before it connects and follows no redirect.

draft-ietf-oauth-client-id-metadata-document-02 section 5: only 200 counts, errors and refused documents are not kept, and what is kept
is kept as long as RFC 9111 lets it, within bounds of ours.  `Watcher` asks again for the clients that were registered from a document, and
says on RECORD when one has changed; what the fabric believes changes only when a registrar accepts it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import structlog
from weft.digest import sha256

from schemas.cimd import MAX_DOCUMENT_BYTES, Resolved
from schemas.facts import Client
from schemas.fetching import Fetch, Fetched
from workers.common import log
from workers.common.clock import Clock
from workers.common.fetching import FetchUnavailable
from workers.common.recorder import RecordUnavailable
from workers.registry.cimd.document import DocumentRefused, check_url, key_set_url, proposal, read_document, read_key_set

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

    def __init__(self, fetcher: Fetches, client: Callable[[str], Client | None]) -> None:
        self._fetcher = fetcher
        self._client = client

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

    async def _get(self, url: str, max_bytes: int) -> Fetched:
        asked = Fetch(method="GET", url=url, headers=(("accept", "application/json"),), deadline_s=DEADLINE_S, max_bytes=max_bytes)
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


class Watcher:
    """Documents that change show within their freshness; each new one is told once."""

    def __init__(
        self, resolver: Resolver, clients: Callable[[], Iterable[Client]], changed: Callable[[Resolved], Awaitable[None]], clock: Clock
    ) -> None:
        self._resolver = resolver
        self._clients = clients
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
        known = {client.client_id for client in self._clients() if client.document is not None and client.state == "active"}
        self._due = {client_id: at for client_id, at in self._due.items() if client_id in known}
        for client_id in sorted(known):
            if self._due.setdefault(client_id, 0.0) <= self._clock.now():
                await self._ask(client_id)

    async def _ask(self, client_id: str) -> None:
        try:
            found = await self._resolver.resolve(client_id)
            self._due[client_id] = self._clock.now() + found.fresh_s
            if found.document != found.accepted and self._told.get(client_id) != found.document:
                await self._changed(found)
                self._told[client_id] = found.document
        except (DocumentRefused, FetchUnavailable, RecordUnavailable) as error:
            self._due[client_id] = self._clock.now() + MIN_FRESH_S
            logger.warning(log.CLIENT_DOCUMENT_REFUSED, client_id=client_id, detail=str(error))
