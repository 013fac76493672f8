"""What the gates pass from one to the next: the request, what is left of it, and every limit met so far."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from schemas.decision import DecisionInput
from schemas.facts import Agent, Tool
from schemas.reasons import DenyReason
from schemas.responses import Need
from schemas.token import DEFAULT_TTL_S, MAX_HOPS, MAX_TTL_S
from streams.facts_table import FactsTable
from workers.common.decision.patterns import Patterns, matches
from workers.common.decision.slice import Slice

ALL: Patterns = ("*",)


class Stop(NamedTuple):
    """The gate refuses; nothing after it is asked."""

    reason: DenyReason
    note: str = ""


class Hold(NamedTuple):
    """The gate would let it pass once something was shown.

    The gates after it are asked all the same: nobody is to approve what would be refused anyway, and an agent may not learn from a
    step-up that a forbidden tool exists.
    """

    needs: Need
    note: str = ""


Said = str | Stop | Hold  # a note: passed
Judge = Callable[["Draft"], Said]


@dataclass
class Limits:
    """Every limit met, as patterns; their intersection is the ceiling of a transaction that begins here."""

    tools: list[Patterns] = field(default_factory=list)
    purposes: list[Patterns] = field(default_factory=list)
    actions: list[Patterns] = field(default_factory=list)
    depth: int = MAX_HOPS


@dataclass
class Draft:
    """A decision in the making.  Actions and life only ever shrink."""

    input: DecisionInput
    facts: FactsTable
    agent: Agent = field(init=False)
    tool: Tool = field(init=False)
    slice: Slice = field(init=False)
    limits: Limits = field(default_factory=Limits)
    actions: tuple[str, ...] = ()
    life_s: int = MAX_TTL_S  # at most
    dead_at: int = sys.maxsize  # at the latest
    same_until: int = sys.maxsize  # for the facts that count, besides the slice's
    policy_digest: str | None = None
    stepped_up: bool = False  # something had to be shown
    approval: str | None = None  # the one that let it pass
    supposed_user: bool = False  # only for listing tools: as if a person with every right had asked

    def __post_init__(self) -> None:
        self.actions = tuple(dict.fromkeys(self.input.actions))
        self.life_s = min(self.life_s, self.input.ttl_s if self.input.ttl_s is not None else DEFAULT_TTL_S)

    @cached_property
    def human(self) -> str | None:
        """The person it is done for."""
        return human_of(self.input)

    @cached_property
    def sub(self) -> str:
        """The `sub` of the token: it stays the same through a transaction."""
        if self.input.parent is not None:
            return self.input.parent.sub
        return self.human or self.input.caller.id

    @cached_property
    def root(self) -> str:
        """Who began the transaction."""
        chain = self.input.parent.act_chain if self.input.parent is not None else ()
        return chain[0].sub if chain else self.input.caller.id

    def narrow(self, *, tools: Patterns = ALL, purposes: Patterns = ALL, actions: Patterns = ALL, depth: int = MAX_HOPS) -> None:
        """A limit on this call and on whatever follows from it."""
        self.limits.tools.append(tools)
        self.limits.purposes.append(purposes)
        self.limits.actions.append(actions)
        self.limits.depth = min(self.limits.depth, depth)
        if actions is not ALL:
            self.keep(actions)

    def keep(self, actions: Patterns) -> None:
        """A limit on the actions of this call alone."""
        self.actions = tuple(action for action in self.actions if matches(actions, action))

    def live(self, ttl_s: int) -> None:
        """A limit on the life of the token."""
        self.life_s = min(self.life_s, ttl_s)

    def end(self, at: int) -> None:
        """The token rests on something that ends then."""
        self.dead_at = min(self.dead_at, at)

    @property
    def ttl_s(self) -> int:
        """What is left of the token's life."""
        return min(self.life_s, self.dead_at - self.input.now)

    def steady(self) -> tuple[int, int]:
        """The span of times, its end excluded, at which the same gates would say the same of this request; empty where none is known."""
        return self.slice.since, min(self.slice.until, self.same_until, self.dead_at - self.life_s + 1)


def human_of(asked: DecisionInput) -> str | None:
    """The person it is done for: of the user token, or of the transaction."""
    if asked.user is not None:
        return asked.user.sub
    return None if asked.parent is None or is_workload(asked.parent.sub) else asked.parent.sub


def is_workload(sub: str) -> bool:
    """The subject is a SPIFFE ID, in any case of letters: not a person."""
    return sub[:9].lower() == "spiffe://"
