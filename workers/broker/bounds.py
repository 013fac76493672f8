"""Is the broker's decision within what the gateway said?  Both decide by the same function over views of their own; where those differ, the
smaller word counts, and a broker that would grant more than it was asked to mints nothing.

NOT compared: endpoint, resource and workload, which are the broker's to read, and evidence, which only the broker has read.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from schemas.decision import Decision, Gate, Grant
from schemas.token import Ceiling
from workers.common.decision import with_lines
from workers.common.decision.patterns import covers
from workers.common.derived import Derived


class Agreement(NamedTuple):
    """Both decisions about one request, put together."""

    decision: Decision  # the broker's own; before its lines those of the gates that the gateway alone asks
    within: bool  # nothing in it exceeds the gateway's
    recorded: orjson.Fragment  # as JSON
    differing: orjson.Fragment | None  # the gateway's, where it is another word, or the same over other facts


def _agree(mine: Decision, theirs: Decision) -> Agreement:
    decision = with_lines((line for line in theirs.lines if line.gate in (Gate.LIMITS, Gate.IDENTITY)), mine)
    same = _word(mine) == _word(theirs)
    return Agreement(decision, within(mine, theirs), orjson.Fragment(decision.wire()), None if same else orjson.Fragment(theirs.wire()))


agreement = Derived(_agree)  # of (mine, theirs): an agent that calls again finds both decisions kept


def _word(decision: Decision) -> tuple[object, ...]:
    return decision.outcome, decision.facts_revision, decision.policy_digest, decision.grant


def within(mine: Decision, theirs: Decision) -> bool:
    """Nothing in my grant exceeds theirs."""
    if not mine or not theirs or mine.grant is None or theirs.grant is None:
        return False
    if mine.grant == theirs.grant:
        return True
    return _grant_within(mine.grant, theirs.grant) and _ceiling_within(mine.grant.ceiling, theirs.grant.ceiling)


def _grant_within(mine: Grant, theirs: Grant) -> bool:
    return (
        set(mine.actions) <= set(theirs.actions)
        and mine.purpose == theirs.purpose
        and mine.sub == theirs.sub
        and mine.ttl_s <= theirs.ttl_s
        and set(mine.bound) >= set(theirs.bound)
        and mine.single_use >= theirs.single_use
        and theirs.proof in (None, mine.proof)
        and mine.status_list >= theirs.status_list
        and theirs.approval in (None, mine.approval)
    )


def _ceiling_within(mine: Ceiling, theirs: Ceiling) -> bool:
    return (
        mine.depth <= theirs.depth
        and all(covers(theirs.tools, pattern) for pattern in mine.tools)
        and all(covers(theirs.purposes, pattern) for pattern in mine.purposes)
        and all(covers(theirs.actions, pattern) for pattern in mine.actions)
        and all(detail in theirs.authorization_details for detail in mine.authorization_details)
    )
