"""How signals are answered: the rules of a response policy, and what an answer may be.

A rule has two halves: when it applies (every condition has to hold), and what is done then, to whom and for how long.  Of the rules of
a policy without a count, the first of the highest confidence that a signal reaches applies; a rule with a count applies besides,
whenever so many signals that meet its conditions, about the same target, happened within its window.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from schemas.base import FreeText, Name, SpiffeIDText, Ttl, Wire
from schemas.token import MAX_HOPS

# From the weakest to the strictest, each doing what the ones before it do: `revoke` ends what was minted, `narrow` and beyond end it too
# and last.
Answer = Literal["record", "notify", "revoke", "narrow", "step_up", "quarantine"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)
Need = Literal["approval", "fresh_attestation", "proof_of_possession"]  # what a step-up asks to be shown
SubjectKind = Literal["transaction", "instance", "agent", "user", "key"]  # the narrowest party that a signal names
RuleScope = Literal["transaction", "instance", "agent", "namespace", "user", "key"]

MAX_WINDOW_S = 86_400
MAX_COUNT = 1_000


class ResponseRule(Wire):
    """One rule; limits other than its own kind of answer reads are refused by the registry."""

    name: Name
    # --- when: all of it
    transmitters: tuple[str, ...] = ("*",)  # `iss`, exact or a prefix ending in `*`
    events: tuple[str, ...] = ("*",)  # event type URIs, the same
    subjects: tuple[SubjectKind, ...] = ()  # the narrowest party that the signal names; none: whomever
    namespaces: tuple[SpiffeIDText, ...] = ()  # its workload lies in one of them; none: anywhere
    confidence: Literal["low", "medium", "high"]  # at least
    count: Annotated[int, Field(ge=1, le=MAX_COUNT)] = 1  # so many different signals about the same target
    within_s: Annotated[int, Field(gt=0, le=MAX_WINDOW_S)] | None = None  # by the time of the events
    # --- then
    response: Answer
    scope: RuleScope = "instance"  # where the signal does not name one, the next wider party that it names
    namespace: SpiffeIDText | None = None  # of scope `namespace`: the prefix that is hit; the workload has to lie in it
    actions: tuple[str, ...] | None = None  # of narrow: what is left
    purposes: tuple[str, ...] | None = None
    max_ttl_s: Ttl | None = None
    depth: Annotated[int, Field(ge=0, le=MAX_HOPS)] | None = None  # hops that may follow
    needs: Need | None = None  # of step_up; none: an approval
    duration_s: Annotated[int, Field(gt=0)] | None = None  # then it is restored; none: until it is lifted
    message: FreeText | None = None  # for whoever reads the record
    receipt: bool = False  # the transmitter is sent the receipts of what this rule did
