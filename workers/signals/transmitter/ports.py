"""What the transmitter needs of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.facts import EventStream
from schemas.fetching import Fetch, Fetched
from schemas.ssf import Dead, Queued

MANAGE, READ = "ssf.manage", "ssf.read"  # CAEP Interoperability Profile 1.0, scopes


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who asks, as its access token says."""

    client_id: str
    scope: tuple[str, ...]


class Authorizer(Protocol):
    """Access tokens."""

    def receiver(self, unverified_token: str, now: float) -> Receiver:
        """Raises outcome.Rejected: 401 for a token that is none of ours or no longer good, 503 where that cannot be known now."""
        ...

    def hears(self, client_id: str) -> tuple[str, ...] | None:
        """The namespaces that this client's streams may tell of; none: it is no active client, and is told nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """A stream as it stands, and the revision of its fact: 0 where it never was."""

    stream: EventStream | None
    revision: int


class Conflict(Exception):
    """Somebody else changed the stream meanwhile."""


class Unavailable(Exception):
    """The bus did not answer in time."""


class Streams(Protocol):
    """Streams of receivers."""

    async def read(self, stream_id: str) -> Held:
        """The newest state.  Raises Unavailable."""
        ...

    async def write(self, stream_id: str, stream: EventStream | None, revision: int, *, by: str, reason: str) -> None:
        """Replaces it, or deletes it, where `revision` still is its revision; this worker acts on it when this returns.

        Raises Conflict, Unavailable.
        """
        ...

    def all(self) -> tuple[EventStream, ...]:
        """As the view has them."""
        ...


@dataclass(frozen=True, slots=True)
class Waiting:
    """SETs that a receiver has not acknowledged, the oldest first."""

    sets: Mapping[str, str]  # jti to SET
    more: bool


class Queue(Protocol):
    """SETs on their way.  Every method raises Unavailable."""

    async def put(self, queued: Queued, *, notice: bool = False) -> None:
        """Keeps it until `remove`.  Once per jti.  A notice is delivered whatever the stream's status."""
        ...

    async def waiting(self, stream_id: str, most: int, *, notices_only: bool) -> Waiting:
        """Up to so many."""
        ...

    async def remove(self, stream_id: str, jti: str) -> Queued | None:
        """What was waiting under that jti, if it was."""
        ...

    async def size(self, stream_id: str) -> int:
        """How many wait."""
        ...

    async def drop(self, stream_id: str) -> None:
        """All that waits, but not its dead letters."""
        ...

    async def bury(self, dead: Dead) -> None:
        """Keeps a SET that was given up."""
        ...

    async def dead(self, stream_id: str | None, after: int, most: int) -> list[tuple[int, Dead]]:
        """Dead letters with their sequence, the oldest first."""
        ...

    async def exhume(self, dead: Dead) -> None:
        """Forgets that it was given up."""
        ...


class Fetches(Protocol):
    """HTTP by way of the edge."""

    async def fetch(self, asked: Fetch) -> Fetched:
        """Raises workers.common.fetching.FetchUnavailable."""
        ...


class Signs(Protocol):
    """Keys of SETs."""

    def sign(self, alg: str, claims: Mapping[str, Any]) -> str:
        """A compact JWS, `typ` secevent+jwt, by the key for this algorithm."""
        ...
