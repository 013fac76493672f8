"""What may become of an approval, by example; the attacks are in tests/unit/gateway/test_step_up.py."""

from __future__ import annotations

from typing import Any

import pytest
from weft.digest import call_parts

from schemas.approvals import Ask, Show, Spend
from schemas.facts import MAX_APPROVALS, Approval
from schemas.invocation import Arguments, CallParts
from schemas.reasons import DenyReason
from workers.common.approvals import ASK_LIFE_S, asked_digest
from workers.common.rpc import Refused
from workers.registry.approvals.decide import REPEATED_S, NotYet, decide_ask, decide_show, decide_spend

AGENT, NOW = "spiffe://88mph.com/agents/a", 1_000


def ask(path: str = "/refunds", **changes: Any) -> Ask:
    call = CallParts(**call_parts("POST", path, b"{}"))  # type: ignore[arg-type]
    fields = {"agent": AGENT, "instance": "i" + "a2" * 13, "tool": "pay", "actions": ("refund",), "purpose": "p", "call": call}
    return Ask(**{**fields, "explanation": "e", "caller": "c", **changes})  # type: ignore[arg-type]


def asked(standing: tuple[Approval, ...] = (), path: str = "/refunds", now: int = NOW) -> Approval:
    return decide_ask(ask(path), standing, now=now, id_=f"id{path.replace('/', '-')}")


def full() -> tuple[Approval, ...]:
    standing: tuple[Approval, ...] = ()
    for n in range(MAX_APPROVALS):
        standing = (*standing, asked(standing, f"/{n}"))
    return standing


def test_an_agent_has_so_many_questions_and_no_more() -> None:
    """INVARIANT: the questions of an agent take a fixed number of places, whoever asks on its behalf; answered ones keep theirs a while.

    Broken by a new subject for each, or by a new question in the place of one that somebody is reading.
    """
    standing = full()
    assert sorted(approval.slot for approval in standing) == list(range(MAX_APPROVALS))
    with pytest.raises(Refused) as refused:
        asked(standing, "/one-more")
    assert refused.value.reason is DenyReason.RATE_LIMITED
    assert asked(standing, "/3").id == "id-3"  # the same question is the one that stands
    assert asked(standing, "/one-more", NOW + ASK_LIFE_S).slot == 0


def test_what_is_shown_is_what_was_signed() -> None:
    held = asked()
    assert decide_show(Show(agent=AGENT, id="x", arguments=Arguments(path="/refunds", body="{}")), held).arguments is not None
    for path, body in (("/refunds", "{} "), ("/refunds?x", "{}")):
        with pytest.raises(Refused):
            decide_show(Show(agent=AGENT, id="x", arguments=Arguments(path=path, body=body)), held)


def test_an_approval_is_spent_on_one_request_and_on_the_same_again() -> None:
    given = asked().model_copy(update={"state": "approved", "by": "U", "at": NOW, "expires_at": NOW + 300})
    spend = Spend(agent=AGENT, id="x", digest=asked_digest(ask()), request="R" * 43)
    spent = decide_spend(given, spend, now=NOW)
    assert (spent.state, spent.spent_on, spent.expires_at) == ("spent", "R" * 43, NOW + REPEATED_S)
    assert decide_spend(spent, spend, now=NOW) == spent
    reasons = []
    for held, how, now in (
        (spent, {"request": "S" * 43}, NOW),
        (given, {"digest": "D" * 43}, NOW),
        (given, {}, NOW + 300),
        (given.model_copy(update={"state": "denied"}), {}, NOW),
    ):
        with pytest.raises(Refused) as refused:
            decide_spend(held, spend.model_copy(update=how), now=now)
        reasons.append(refused.value.reason)
    assert reasons == [DenyReason.APPROVAL_SPENT, *[DenyReason.STEP_UP_REQUIRED] * 3]
    for held in (None, asked()):
        with pytest.raises(NotYet):
            decide_spend(held, spend, now=NOW)
