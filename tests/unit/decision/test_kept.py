"""Decisions that are kept: `workers.common.decision.kept`."""

from typing import Any

import pytest

from schemas.decision import DecisionInput
from schemas.token import AuthorizationDetail
from tests.support import world
from tests.support.facts import put
from workers.common.decision import decide
from workers.common.decision.kept import UNREAD, question

FRAUD_CHECK = {"tool": "fraud-check", "actions": ["check"], "evidence": None, "evidence_wanted": None}


def test_every_field_of_a_request_is_asked_about_or_known_to_be_unread() -> None:
    """INVARIANT: two requests that share a kept decision differ in nothing that a gate reads.

    It would break if a field were added to DecisionInput, and to a gate, but not to `question`.
    """
    asked = world.request("search")
    other: dict[str, Any] = {
        "request_id": "another", "request_digest": "B" * 43, "intent": "B" * 43, "revocations": 99,
        "tool": "another", "actions": ("another",), "purpose": "another", "call": None, "ttl_s": 7, "user": world.request("refund").user,
        "caller": asked.caller.model_copy(update={"instance": "i" + "c" * 26}),
        "authorization_details": (AuthorizationDetail(type="t"),), "environment": {"another": "one"},
        "evidence_read": False, "challenged_at": 9, "views_fresh": False,
    }  # fmt: skip
    unkept = {"parent", "evidence", "evidence_wanted"}
    assert {*other, *unkept, "now"} == set(DecisionInput.model_fields)
    for name, value in other.items():
        same = question(asked.model_copy(update={name: value})) == question(asked)
        assert same == (name in UNREAD), name
    for name in unkept:
        assert question(asked.model_copy(update={name: ("something",)})) is None


def test_a_kept_decision_is_the_same_object_until_any_fact_moves() -> None:
    table = world.facts()
    first = decide(world.request("search"), table)
    assert decide(world.request("search", {"request_id": "another"}), table) is first
    put(table, _another_tool())
    assert decide(world.request("search"), table) is not first


@pytest.mark.parametrize("moment", range(-3, 4))
@pytest.mark.parametrize("what", ["svid", "user"])
def test_a_kept_decision_never_outlives_what_its_token_rests_on(what: str, moment: int) -> None:
    """INVARIANT: at every second a decision that was kept before says what one computed anew says.

    It would break if the span ended later than the moment from which an expiry shortens the token's life.
    """
    ends = 2_000
    name, changes = {
        "svid": ("search", {"caller": {"svid_exp": ends}}),
        "user": ("refund", {**FRAUD_CHECK, "user": {"exp": ends}, "caller": {"svid_exp": 10 * ends}}),
    }[what]
    table = world.facts()
    granted = decide(world.request(name, changes), table)
    assert granted.grant is not None
    for later in (ends - granted.grant.ttl_s + moment, ends + moment):
        then = world.request(name, {**changes, "now": later})
        assert decide(then, table).wire() == decide(then, world.facts()).wire()


def test_a_refusal_is_not_kept() -> None:
    table = world.facts()
    refused = world.request("search", {"tool": "nowhere"})
    assert decide(refused, table) is not decide(refused, table)


def _another_tool() -> dict[str, Any]:
    plain = next(body for body in world.bodies().values() if body["kind"] == "tool")
    return {**plain, "name": "another-tool"}
