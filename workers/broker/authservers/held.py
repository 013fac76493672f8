"""Tokens that were obtained and still live: for whom, until when, and what would end them.  The ledger has the same on the disk.

A token is kept for one server, tool, grant, person and agent; whoever differs in one of these gets another.  Pure but for what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from weft.claims import VerifiedToken
from weft.revocation import Revocable

from schemas.authservers import ObtainBy
from schemas.facts import AuthorizationServer

MARGIN_S = 5  # a token that ends sooner is not given out again
MAX_HELD = 1024
MAX_CALLS = 32  # remembered of a token; a call beyond that gets a token of its own


class Whose(NamedTuple):
    """What a token was obtained for: no two of these share one."""

    server: str
    issuer: str
    client_id: str
    tool: str
    resource: str
    by: ObtainBy
    scopes: tuple[str, ...]
    sub: str
    agent: str
    instance: str


class Revocations(Protocol):
    """What of the view is asked."""

    def revoked(self, token: Revocable) -> int | None:
        """The entry that hits it."""


@dataclass(frozen=True, slots=True)
class Served:
    """What of a call is remembered: what RECORD calls it, and what a revocation that hits it names."""

    jti: str
    txn: str
    rev: int
    targets: tuple[str, ...]

    @classmethod
    def of(cls, call: VerifiedToken) -> Served:
        """Of a call that was verified."""
        return cls(call.jti, call.txn, call.rev, call.targets)


@dataclass(eq=False)
class Held:
    """One token, and the calls it served: a revocation of any of them is one of it."""

    whose: Whose
    server: AuthorizationServer
    token: str = field(repr=False)
    exp: float  # when it is over there
    until: float  # when it stops to serve here: the tool's limit
    calls: list[Served] = field(repr=False)  # the first is the one it was obtained for
    serves: bool = False  # somebody was handed it, and it may be handed out again; otherwise it is only still to be taken back
    over: bool = False  # taken back, or ended


class Holding:
    """All of them."""

    def __init__(self) -> None:
        self._kept: dict[Whose, Held] = {}
        self._alive: dict[Held, None] = {}  # kept or not: what is still to be revoked if it comes to that

    def __len__(self) -> int:
        return len(self._alive)

    def take(self, whose: Whose, call: Served, now: float) -> Held | None:
        """One that may serve this call too."""
        held = self._kept.get(whose)
        if held is None or now >= min(held.exp, held.until) - MARGIN_S or len(held.calls) >= MAX_CALLS:
            return None
        held.calls.append(call)
        return held

    def put(self, held: Held) -> list[Held]:
        """From now on a revocation finds it.  What makes room, the oldest, serves nobody any more: it is the caller's to revoke."""
        left = list(self._alive)[: max(0, len(self._alive) - MAX_HELD + 1)]
        for old in left:
            self.drop(old)
        self._alive[held] = None
        return left

    def serve(self, held: Held) -> None:
        """From now on it may be handed out; unless it was dropped meanwhile."""
        if held in self._alive:
            held.serves = True
            self._kept[held.whose] = held

    def drop(self, held: Held) -> None:
        """It serves nobody any more."""
        held.serves = False
        self._alive.pop(held, None)
        if self._kept.get(held.whose) is held:
            del self._kept[held.whose]

    def hit(self, view: Revocations) -> list[Held]:
        """What a revocation ends.  They serve nobody from here on; revoking them where they were issued is the caller's."""
        found = [held for held in self._alive if any(view.revoked(call) is not None for call in held.calls)]
        for held in found:
            self.drop(held)
        return found

    def past(self, now: float) -> list[Held]:
        """What has ended, or served as long as its tool allows.  Taking back what has not ended is the caller's."""
        found = [held for held in self._alive if min(held.exp, held.until) <= now]
        for held in found:
            self.drop(held)
        return found

    def everything(self) -> Iterator[Held]:
        """For the end."""
        yield from list(self._alive)
