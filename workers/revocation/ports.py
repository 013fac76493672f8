"""What the parts of this worker need of the world, as narrow as they call it."""

from __future__ import annotations

from typing import Protocol

from schemas.base import Wire
from schemas.revocation import Entry
from workers.revocation.causes import Cause, Committed
from workers.revocation.ledger import Stored


class Fenced(Exception):
    """Another writer has written since: this one is deposed."""


class Uncertain(Exception):
    """The stream did not answer in time: the message may or may not be there."""


class Deposed(Exception):
    """The copy does not write; whoever does may have committed the cause or not."""


class Signer(Protocol):
    """The revocation key."""

    def sign(self, payload: Wire, typ: str) -> str:
        """As compact JWS."""
        ...


class LedgerStream(Protocol):
    """REVOCATIONS."""

    async def read(self) -> Stored:
        """What the stream holds, signatures verified.  Raises BrokenLedger, Uncertain."""
        ...

    async def first_entry(self) -> int | None:
        """The number of the first entry still stored.  Raises Uncertain."""
        ...

    async def entry_at(self, seq: int) -> tuple[Entry, str]:
        """The entry at a sequence and its exact JWS.  Raises BrokenLedger, Uncertain."""
        ...

    async def put_entry(self, jws: str, *, n: int, msg_id: str, after: int) -> tuple[int, bool]:
        """Commit it as the message after `after`: its sequence, and whether the id was there before.  Raises Fenced, Uncertain."""
        ...

    async def put_beacon(self, jws: str, *, msg_id: str, after: int) -> int:
        """Commit it as the message after `after`.  Raises Fenced, Uncertain."""
        ...


class Commits(Protocol):
    """The writer, as those see it who have a cause."""

    async def commit(self, cause: Cause) -> Committed:
        """Returns once an entry with this cause is on the stream.  Raises Deposed, ValueError."""
        ...


class Covered(Protocol):
    """Which postures already have their entry."""

    async def postures_since(self, timestamp: str) -> dict[int | None, Committed]:
        """The entries committed since then that name a posture, by its revision.  Raises Uncertain, BrokenLedger."""
        ...
