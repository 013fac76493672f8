"""What the broker's ledger of obtained tokens promises, in memory: several of these over one `Disk` are several brokers of one folder."""

from __future__ import annotations

from dataclasses import dataclass, field

from weft.digest import sha256

from workers.broker.authservers.held import Held
from workers.broker.authservers.ledger import Kept, held_of, kept_of
from workers.broker.authservers.ports import NotKept


@dataclass
class Disk:
    """Rows by digest, each with who holds it; and who lives."""

    rows: dict[str, tuple[str, Kept]] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)
    full: bool = False


class MemoryLedger:
    """One broker's."""

    def __init__(self, disk: Disk | None = None, holder: str = "a") -> None:
        self.disk = disk or Disk()
        self.holder = holder
        self.unreadable = 0
        self.disk.alive.add(holder)

    async def keep(self, held: Held) -> None:
        if self.disk.full or self.holder not in self.disk.alive:
            raise NotKept("full")
        if not held.over:
            self.disk.rows[sha256(held.token)] = (self.holder, kept_of(held))

    async def forget(self, held: Held) -> None:
        held.over = True
        self.disk.rows.pop(sha256(held.token), None)

    async def adopt(self, now: float) -> list[Held]:
        self.disk.rows = {digest: row for digest, row in self.disk.rows.items() if row[1].exp > now}
        left = {digest: kept for digest, (holder, kept) in self.disk.rows.items() if holder not in self.disk.alive}
        self.disk.rows.update({digest: (self.holder, kept) for digest, kept in left.items()})
        return [held_of(kept) for kept in left.values()]

    async def close(self) -> None:
        """As if killed."""
        self.disk.alive.discard(self.holder)
