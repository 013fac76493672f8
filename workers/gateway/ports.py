"""What the gateway needs of others."""

from __future__ import annotations

from typing import Protocol

from schemas.minting import MintRequest
from streams.facts_table import FactsTable
from workers.common.minting import Answered


class BrokerUnavailable(Exception):
    """No broker answered within the deadline.  A token may have been recorded; none was released here."""


class Broker(Protocol):
    """The broker, over the bus."""

    async def mint(self, mint: MintRequest, *, timeout_s: float, alone: bool) -> Answered:
        """Its answer, granted or refused.  Raises BrokerUnavailable.  `alone`: others shall not wait for what this one takes."""


class Record(Protocol):
    """RECORD."""

    async def record(self, subject: str, body: bytes, msg_id: str) -> int:
        """Commit one event; returns its sequence.  Raises workers.common.recorder.RecordUnavailable."""


class Views(Protocol):
    """What this gateway knows of the world."""

    @property
    def facts(self) -> FactsTable:
        """The facts at one revision."""

    @property
    def revocations(self) -> int:
        """The revocation counter."""

    def challenged_at(self, challenge: str | None) -> int | None:
        """When a challenge of ours was made; none for any other."""

    def fresh(self, now: float) -> bool:
        """Both views are within their budget."""
