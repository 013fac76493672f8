"""What the broker needs of others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from schemas.approvals import Spend
from schemas.status import Allocated, Given
from schemas.token import TOKEN_TYP
from streams.facts_table import FactsTable
from workers.broker.signer import Committed
from workers.common.recorder import Recorded


class Record(Protocol):
    """RECORD, to write."""

    async def commit(self, subject: str, body: bytes, msg_id: str) -> Recorded:
        """Commit one event, or find the first of that id.  Raises workers.common.recorder.RecordUnavailable."""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One message of RECORD."""

    subject: str
    body: bytes = field(repr=False)


class History(Protocol):
    """RECORD, to read."""

    async def at(self, seq: int) -> RecordedEvent | None:
        """The event of that sequence; none where this replica has none (yet).  Raises HistoryUnavailable."""


class Signer(Protocol):
    """The key of the moment; a keyring, or one key."""

    @property
    def kid(self) -> str:
        """Its name.  Raises RequestRefused where none may sign."""

    def size_of(self, payload: bytes, typ: str = TOKEN_TYP) -> int:
        """How many bytes the token will have."""

    def issue_token(self, committed: Committed) -> str:
        """The token, for claims whose record was acknowledged.  Raises RequestRefused."""


class Approvals(Protocol):
    """The registry, which alone writes what became of an approval."""

    async def spend(self, spend: Spend) -> None:
        """Used by this request, and by no other ever.  Raises workers.common.requests.RequestRefused."""


class HistoryUnavailable(Exception):
    """RECORD could not be read."""


class Statuses(Protocol):
    """Who gives entries of status lists."""

    async def allocate(self, token: Allocated) -> Given:
        """An entry that nobody else has.  Raises RequestRefused (`status_unavailable`)."""


class Views(Protocol):
    """What this broker knows of the world."""

    @property
    def facts(self) -> FactsTable:
        """The facts at one revision."""

    @property
    def facts_needed(self) -> int:
        """The facts revision that the revocation view rests on: what its entries and beacons name."""

    @property
    def revocations(self) -> int:
        """The revocation counter."""

    def challenged_at(self, challenge: str | None) -> int | None:
        """When a challenge of ours was made; none for any other."""

    def fresh(self, now: float) -> bool:
        """Both views are within their budget."""

    async def reach(self, revision: int, timeout_s: float) -> bool:
        """Wait until the facts are at that revision; whether they are."""
