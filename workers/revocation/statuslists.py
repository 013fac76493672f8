"""Which entry a token gets, and what the lists say.  Pure: no clock, no network; draft-ietf-oauth-status-list-20 sections 4 and 6.

A list takes tokens for `PERIOD_S`, is named after that period and never used again, and is dropped when the last of its tokens has
expired.  Entries are random, so that a list tells neither order nor number of its tokens.  An unused entry reads VALID, as everyone's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from weft.statuslist import Status, StatusList

from schemas.status import PERIOD_S, Allocated
from schemas.token import MAX_TTL_S, SKEW_S

SIZE = 1 << 19  # of a list: 64 KiB, a few hundred bytes while few are revoked
EXP_S = 60  # of a list token
TTL_S = 5
RENEW_S = 30  # a list token as old as that is signed again, changed or not

Hit = Callable[[Iterable[str], int], int | None]


def list_at(now: float) -> int:
    """The list that takes tokens now."""
    return int(now) // PERIOD_S


def ends_at(number: int) -> int:
    """From then on nobody refers to the list: its last token has expired."""
    return (number + 1) * PERIOD_S + MAX_TTL_S + 2 * SKEW_S


def stands(number: int, now: float) -> bool:
    """The list is one of now; with a period of clock skew ahead."""
    return list_at(now) + 1 >= number and now < ends_at(number)


@dataclass(slots=True)
class Entries:
    """One list, as far as this copy knows it."""

    seq: int = 0  # of CLAIMS, read so far
    held: dict[int, Allocated] = field(default_factory=dict)
    revoked: set[int] = field(default_factory=set)
    judged: tuple[int, int] = (-1, -1)  # the counter and the number of entries that `revoked` was judged at

    def add(self, idx: int, allocated: Allocated) -> None:
        """An entry was given."""
        self.held[idx] = allocated

    def judge(self, hit: Hit, counter: int) -> bool:
        """Whether anything changed.  A revoked token stays so."""
        if self.judged == (counter, len(self.held)):
            return False
        self.judged = (counter, len(self.held))
        more = {idx for idx, one in self.held.items() if idx not in self.revoked and hit(one.targets, one.rev) is not None}
        self.revoked |= more
        return bool(more)

    def statuses(self) -> StatusList:
        """As published."""
        return StatusList.of(((idx, int(Status.INVALID)) for idx in self.revoked), SIZE)
