"""Whether an instance is one of the workload that a signal says it is of.

A sender that may speak of one namespace could name an instance of another beside a workload of its own.  Admission's record
tells: an instance was admitted under the name `<instance>.<SPIFFE ID>`, or it was not.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from nats.aio.client import Client
from nats.errors import Error as NATSError
from weft.spiffeid import SpiffeID

from streams.subjects import RECORD, connection_name

ASK_S = 1.0
TRIES = 3


class Unanswered(Exception):
    """RECORD did not answer in time."""


class InstanceRecord(Protocol):
    """Which instance is of which workload."""

    async def belongs(self, instance: str, workload: str) -> bool:
        """Raises Unanswered."""
        ...


class Instances:
    """Admission's record, one subject of it at a time: this worker may read no other part of RECORD."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def belongs(self, instance: str, workload: str) -> bool:
        """Whether this instance was ever admitted as this workload.  Raises Unanswered."""
        name = connection_name(instance, SpiffeID.parse(workload))
        subject = f"$JS.API.DIRECT.GET.RECORD.{RECORD.at('admission', 'admitted', name)}"
        for _ in range(TRIES):
            try:
                answer = await self._nc.request(subject, b"", timeout=ASK_S)
            except NATSError:
                await asyncio.sleep(0.05)
                continue
            return (answer.headers or {}).get("Nats-Sequence") is not None
        raise Unanswered("RECORD did not answer")
