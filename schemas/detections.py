"""Detections: what a sequence of calls has to look like before the fabric itself raises a signal about it.

Each watches RECORD and raises a CAEP risk-level-change (CAEP 1.0 section 3.8) into SIGNALS, where the response policy answers it
like anyone else's.  The kinds are those of Sigma's correlation rules (ordered events, counts of events, counts of values), and three
that need the call chain or the history.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Name, SpiffeIDText, Wire
from schemas.reasons import DenyReason, GuardReason

Patterns = tuple[str, ...]
LONGEST_S = 2_592_000  # 30 days: what a copy of signals reads of RECORD when it starts


class Step(Wire):
    """A granted call: one of these tools, and one of these actions."""

    tools: Patterns = ("*",)
    actions: Patterns = ("*",)


class InOrder(Wire):
    """These steps, in this order, other calls between them or not: a secret is read, then something leaves."""

    of: Literal["sequence"]
    steps: Annotated[tuple[Step, ...], Field(min_length=2, max_length=8)]


class FanOut(Wire):
    """Calls to more than so many different tools."""

    of: Literal["fan_out"]
    more_than: Annotated[int, Field(ge=1, le=1000)]


class Cycle(Wire):
    """A chain that comes back to an agent which acted before in it: A→B→A."""

    of: Literal["cycle"]


class Refusals(Wire):
    """So many refusals in a row, no grant between them."""

    of: Literal["refusals"]
    at_least: Annotated[int, Field(ge=2, le=1000)]
    reasons: tuple[DenyReason, ...] = ()  # none: any


class FirstUse(Wire):
    """A tool that this agent has not used within the window, though it has done at least so much else."""

    of: Literal["first_use"]
    history: Annotated[int, Field(ge=1, le=100_000)] = 20


class GuardRefusal(Wire):
    """A guard refused a token that this fabric issued, for one of these reasons."""

    of: Literal["guard_refusal"]
    reasons: Annotated[tuple[GuardReason, ...], Field(min_length=1)]


class NeverIssued(Wire):
    """A guard reports the use of a token that RECORD does not know: its key is in other hands, or the guard lies.

    The signal is about the guard's workload; whom the token named is nobody's word.
    """

    of: Literal["never_issued"]


class ClientFailures(Wire):
    """So many failed client authentications at the OAuth face that named one client (`schemas.record.NotAuthenticated`).

    `replayed`: only those with an assertion that was good and had been used before.  The signal is about the workload that the client is.
    """

    of: Literal["client_failures"]
    at_least: Annotated[int, Field(ge=1, le=100_000)]
    replayed: bool = False


Shape = Annotated[InOrder | FanOut | Cycle | Refusals | FirstUse | GuardRefusal | NeverIssued | ClientFailures, Field(discriminator="of")]


class DetectionRule(Wire):
    """`by`: whose calls are counted together; `within_s`: how long they may take, and for `first_use` how far back history goes."""

    name: Name
    when: Shape
    by: Literal["transaction", "instance", "agent"] = "instance"
    within_s: Annotated[int, Field(ge=1, le=LONGEST_S)] = 300
    level: Literal["low", "medium", "high"] = "medium"
    namespaces: tuple[SpiffeIDText, ...] = ()  # agents below these; none: every agent

    @model_validator(mode="after")
    def _causes(self) -> Self:
        """Anybody can fail to be a client, in its name: that must not be enough to have it answered for."""
        if isinstance(self.when, ClientFailures) and not self.when.replayed and self.level != "low":
            raise ValueError("level of client_failures is low, since anybody can cause them; replayed ones may count for more")
        return self
