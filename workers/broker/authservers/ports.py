"""What asking another server needs of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from schemas.facts import AuthorizationServer
from workers.broker.authservers.held import Held
from workers.common.outbound import Answer


class HTTP(Protocol):
    """One way to send; `workers.common.outbound.Outbound` is one."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        deadline_s: float = 5.0,
        max_bytes: int = 65_536,
    ) -> Answer:
        """The whole answer.  Raises OutboundRefused, OutboundFailed."""


class Ways(Protocol):
    """How the broker reaches a server and proves who it is."""

    def http(self, server: AuthorizationServer) -> HTTP:
        """With the client certificate that the server's fact names, if any.  Raises NoWay."""

    async def svid(self, audience: str) -> str:
        """The broker's own JWT-SVID for that audience.  Raises NoWay."""


class Ledger(Protocol):
    """What outlives this process; `workers.broker.authservers.ledger.Ledger` is one."""

    unreadable: int  # so many of what others left do not open here, and end by themselves

    async def keep(self, held: Held) -> None:
        """As it is now, on the disk when this returns.  Raises NotKept."""

    async def forget(self, held: Held) -> None:
        """It was taken back, or is over."""

    async def adopt(self, now: float) -> list[Held]:
        """What brokers that are gone have left; nobody else gets the same.  Raises NotKept."""


class NotKept(Exception):
    """The disk, or the key-encryption key, does not let it.  The text repeats nothing of what it was."""


class NoWay(Exception):
    """The broker has no certificate of that name, or no Workload API.  The text is for the record."""
