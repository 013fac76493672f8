"""Tokens that were obtained and still live: for whom, until when, and what would end them.  In memory alone.

A token is kept for one server, tool, grant, person and agent; whoever differs in one of these gets another.  Pure but for what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

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


@dataclass(eq=False)
class Held:
    """One token, and the calls it served: a revocation of any of them is one of it."""

    whose: Whose
    server: AuthorizationServer
    token: str = field(repr=False)
    exp: float  # when it is over there
    until: float  # when it stops to serve here: the tool's limit
    jti: str  # of the call it was obtained for
    calls: list[Revocable] = field(default_factory=list, repr=False)


class Holding:
    """All of them."""

    def __init__(self) -> None:
        self._kept: dict[Whose, Held] = {}
        self._alive: dict[Held, None] = {}  # kept or not: what is still to be revoked if it comes to that

    def __len__(self) -> int:
        return len(self._alive)

    def take(self, whose: Whose, call: Revocable, now: float) -> Held | None:
        """One that may serve this call too."""
        held = self._kept.get(whose)
        if held is None or now >= min(held.exp, held.until) - MARGIN_S or len(held.calls) >= MAX_CALLS:
            return None
        held.calls.append(call)
        return held

    def put(self, held: Held) -> list[Held]:
        """From now on.  What makes room, the oldest, serves nobody any more: it is the caller's to revoke."""
        left = list(self._alive)[: max(0, len(self._alive) - MAX_HELD + 1)]
        for old in left:
            self.drop(old)
        self._kept[held.whose] = held
        self._alive[held] = None
        return left

    def drop(self, held: Held) -> None:
        """It serves nobody any more."""
        self._alive.pop(held, None)
        if self._kept.get(held.whose) is held:
            del self._kept[held.whose]

    def hit(self, view: Revocations) -> list[Held]:
        """What a revocation ends.  They serve nobody from here on; revoking them where they were issued is the caller's."""
        found = [held for held in self._alive if any(view.revoked(call) is not None for call in held.calls)]
        for held in found:
            self.drop(held)
        return found

    def expire(self, now: float) -> None:
        """What has ended by itself."""
        for held in [held for held in self._alive if held.exp <= now]:
            self.drop(held)

    def everything(self) -> Iterator[Held]:
        """For the end."""
        yield from list(self._alive)
