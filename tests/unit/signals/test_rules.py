"""When a rule applies, whom its answer hits, and what becomes of a response that waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from weft.digest import sha256

from schemas.commands import Resolve
from schemas.facts import MAX_PENDING, Pending, ResponsePolicy, Transmitter, TransmitterCeiling
from schemas.responses import ResponseRule
from schemas.signals import CAEP, POINTS
from tests.support.facts import table_of
from tests.support.hotpath import FixedClock, TableWriter
from workers.common.rpc import Refused
from workers.signals.pending import PendingResponses, decide
from workers.signals.policy.assess import Signal, Subject
from workers.signals.policy.respond import Act, Recorded, TakeBack, World, respond
from workers.signals.policy.rules import applies
from workers.signals.policy.targets import Target, aimed
from workers.signals.policy.windows import LATE_S, Seen

ISS, ROOT = "https://risk.example", "spiffe://88mph.com"
AGENT, INSTANCE = f"{ROOT}/agents/advisor/payments", "i" + "a2" * 13
RISK = f"{CAEP}risk-level-change"
SIGNAL = Signal(
    id="s",
    iss=ISS,
    jti="j",
    event=RISK,
    subject=Subject(workload=AGENT, instance=INSTANCE),
    confidence="medium",
    contrary=False,
    event_time=100,
    iat=100,
    at=100,
)


def rule(**changes: Any) -> ResponseRule:
    return ResponseRule.model_validate({"name": "r", "confidence": "medium", "response": "quarantine", **changes})


def about(**subject: str) -> Signal:
    return replace(SIGNAL, subject=Subject(**subject))


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({}, True),
        ({"transmitters": (ISS,)}, True),
        ({"transmitters": ("https://risk.*",)}, True),
        ({"transmitters": ("https://other.example",)}, False),
        ({"events": (f"{CAEP}*",)}, True),
        ({"events": (f"{CAEP}session-revoked",)}, False),
        ({"subjects": ("instance",)}, True),
        ({"subjects": ("agent", "user")}, False),
        ({"namespaces": (f"{ROOT}/agents/advisor",)}, True),
        ({"namespaces": (f"{ROOT}/agents/adv",)}, False),
        ({"namespaces": (f"{ROOT}/tools", f"{ROOT}/agents")}, True),
        ({"confidence": "low"}, True),
        ({"confidence": "high"}, False),
        ({"subjects": ("instance",), "namespaces": (f"{ROOT}/tools",)}, False),
    ],
)
def test_a_rule_applies_when_every_condition_holds(condition: dict[str, Any], holds: bool) -> None:
    """INVARIANT: each condition of a rule is asked, and all of them have to hold.

    Broken by leaving one out: a rule for one namespace would answer for all.
    """
    assert applies(rule(**condition), SIGNAL) is holds


def test_a_signal_that_names_no_workload_lies_in_no_namespace() -> None:
    assert not applies(rule(namespaces=(ROOT,)), about(user="marty@88mph.com"))


@pytest.mark.parametrize(
    ("scope", "subject", "target"),
    [
        ("transaction", {"workload": AGENT, "transaction": "t1"}, ("transaction", "t1")),
        ("transaction", {"workload": AGENT, "instance": INSTANCE}, ("instance", INSTANCE)),
        ("instance", {"workload": AGENT, "instance": INSTANCE, "transaction": "t1"}, ("instance", INSTANCE)),
        ("agent", {"workload": AGENT, "instance": INSTANCE}, ("agent", AGENT)),
        ("user", {"workload": AGENT, "user": "marty@88mph.com"}, ("user", "marty@88mph.com")),
        ("user", {"workload": AGENT}, None),
        ("key", {"key": "kid-1"}, ("key", "kid-1")),
        ("key", {"workload": AGENT}, None),
        ("namespace", {"workload": AGENT}, ("namespace", f"{ROOT}/agents/advisor")),
        ("namespace", {"workload": f"{ROOT}/agents/other"}, None),
        ("namespace", {"user": "marty@88mph.com"}, None),
    ],
)
def test_whom_an_answer_hits(scope: str, subject: dict[str, str], target: tuple[str, str] | None) -> None:
    asked = rule(scope=scope, **({"namespace": f"{ROOT}/agents/advisor"} if scope == "namespace" else {}))
    aim = aimed(Subject(**subject), asked)
    assert (aim.target if aim is not None else None) == (Target(*target) if target is not None else None)  # type: ignore[arg-type]


def world(*rules: ResponseRule, namespaces: tuple[str, ...] = (f"{ROOT}/agents",), strongest: str = "quarantine", iss: str = ISS) -> World:
    ceiling = TransmitterCeiling(namespaces=namespaces, strongest=strongest)  # type: ignore[arg-type]
    held = Transmitter(iss=iss, aud="a", jwks={}, trust={"*": "high"}, ceiling=ceiling)
    return World((ResponsePolicy(name="p", rules=rules),), lambda asked: held if asked == iss else None, Seen(), "88mph.com")


@pytest.mark.parametrize("scope", ["transaction", "key", "user"])
def test_what_lies_in_no_namespace_takes_a_sender_of_the_whole_trust_domain(scope: str) -> None:
    """INVARIANT: whose a transaction is nobody can tell by its id, a key signs for everyone, a person acts everywhere.

    Broken by believing the workload that the signal names beside it.
    """
    asked = rule(scope=scope, response="revoke")
    signal = about(workload=AGENT, transaction="t1", key="kid", user="marty@88mph.com")
    (waits,) = respond(signal, world(asked))
    assert isinstance(waits, Recorded)
    assert waits.waiting
    assert waits.act is not None
    assert waits.act.place == ROOT
    (done,) = respond(signal, world(asked, namespaces=(ROOT,)))
    assert isinstance(done, Act)


def test_the_fabrics_own_guards_have_seen_whose_transaction_it_is() -> None:
    signal = replace(about(workload=AGENT, instance=INSTANCE, transaction="t1"), iss=POINTS)
    (done,) = respond(signal, world(rule(scope="transaction"), iss=POINTS))
    assert isinstance(done, Act)
    assert (done.target, done.causes[0].level) == (Target("transaction", "t1"), "quarantined")


def test_a_rule_that_revokes_or_notifies_adds_no_cause() -> None:
    for answer in ("revoke", "notify"):
        (done,) = respond(SIGNAL, world(rule(response=answer)))
        assert isinstance(done, Act)
        assert (done.answer, done.causes) == (answer, ())


def test_strengths_are_ordered_and_a_ceiling_cuts_them_there() -> None:
    order = ("record", "notify", "revoke", "narrow", "step_up", "quarantine")
    for position, strongest in enumerate(order):
        for answer in order[1:]:
            limits = {"actions": ("read",)} if answer == "narrow" else {}
            (found,) = respond(SIGNAL, world(rule(response=answer, **limits), strongest=strongest))
            assert isinstance(found, Act) == (order.index(answer) <= position), (strongest, answer)


def test_a_contrary_signal_takes_back_the_transaction_it_names_and_no_namespace() -> None:
    back = respond(replace(about(workload=AGENT, transaction="t1"), contrary=True), world(rule(), namespaces=(ROOT,)))[0]
    assert isinstance(back, TakeBack)
    assert back.targets == (Target("transaction", "t1"), Target("agent", AGENT))


def test_what_arrives_too_late_is_in_no_window_and_a_flood_forgets_its_own() -> None:
    seen = Seen()
    seen.add(replace(SIGNAL, at=SIGNAL.event_time + LATE_S + 1))
    assert len(seen) == 0
    for n in range(5):
        seen.add(replace(SIGNAL, id=str(n), at=100 + n))
        seen.add(replace(SIGNAL, id=str(n), at=100 + n))
    assert len(seen) == 5
    seen.forget(103)
    assert len(seen) == 2


# --- responses that wait --------------------------------------------------------------------------------------------------------------

PENDING = Pending(
    iss=ISS,
    slot=0,
    id="p1",
    jti="j",
    event=RISK,
    confidence="high",
    rule="r",
    policy="p",
    response="quarantine",
    scope="agent",
    value=AGENT,
    place=AGENT,
    why="beyond",
    duration_s=60,
    causes=respond(SIGNAL, world(rule(scope="agent")))[0].causes,  # type: ignore[union-attr]
    asked_at=100,
    expires_at=200,
)


def resolved(held: Pending | None = PENDING, verdict: str = "confirm", *, now: int = 150, may: bool = True, nkey: str = "UDOC") -> Pending:
    order = Resolve(id="p1", verdict=verdict, reason="seen")  # type: ignore[arg-type]
    return decide(held, nkey, order, now=now, may=lambda place: may and place == AGENT)


async def test_the_same_response_waits_once_and_a_flood_fills_its_senders_slots_alone() -> None:
    """INVARIANT: what waits takes one of a fixed number of places of its transmitter; more is on record alone.

    Broken by a fact for each signal: FACTS keeps everything for ever.
    """
    table = table_of(())
    desk = PendingResponses(table, TableWriter(table), None, None, FixedClock(), instances=None, root=ROOT)  # type: ignore[arg-type]

    async def keep(n: int, iss: str = ISS) -> str | None:
        held = world(rule(scope="agent"), strongest="record", iss=iss)
        signal = replace(about(workload=f"{AGENT}/{n}"), id=f"s{n}", iss=iss)
        (left,) = respond(signal, held)
        assert isinstance(left, Recorded)
        assert left.act is not None
        return await desk.keep(signal, left.act, left.detail)

    first = await keep(0)
    assert await keep(0) == first
    assert all([await keep(n) for n in range(1, MAX_PENDING)])
    assert await keep(MAX_PENDING) is None
    assert await keep(0, "https://other.example") is not None
    assert len(table.pending()) == MAX_PENDING + 1


def test_a_confirmed_response_lasts_from_then_on_and_names_who_confirmed_it() -> None:
    done = resolved()
    (cause,) = done.causes
    assert (done.state, done.by) == ("confirmed", "UDOC")
    assert (cause.until, cause.confirmed_by, cause.by) == (210, "UDOC", ISS)
    assert resolved(done, now=170) == done  # said again it is as it was
    assert resolved(verdict="dismiss").state == "dismissed"


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"held": None}, "not_found"),
        ({"may": False}, "not_found"),
        ({"now": 200}, "conflict"),
        ({"held": resolved(), "verdict": "dismiss"}, "conflict"),
        ({"held": resolved(), "nkey": "UEVE"}, "conflict"),
    ],
)
def test_who_and_when_may_answer_for_it(how: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        resolved(**how)
    assert refused.value.reason == reason
    assert sha256("") not in refused.value.detail


def test_what_a_sender_may_cause_is_done_though_a_stricter_policy_asks_for_more() -> None:
    """INVARIANT: a policy whose answer lies beyond the ceiling keeps no other from answering.

    Broken by taking the strictest of all policies and then asking the ceiling: one more policy would switch the others off.
    """
    both = tuple(
        ResponsePolicy(name=name, rules=(rule(response=answer, **limits),))
        for name, answer, limits in (("strict", "quarantine", {}), ("mild", "narrow", {"actions": ("read",)}), ("lax", "record", {}))
    )
    for policies in (both, tuple(reversed(both))):
        held = world(strongest="narrow")
        waits, done = respond(SIGNAL, World(policies, held.transmitter, Seen(), "88mph.com"))
        assert isinstance(waits, Recorded)
        assert (waits.waiting, waits.chosen.policy if waits.chosen else None) == (True, "strict")
        assert isinstance(done, Act)
        assert (done.answer, done.chosen.policy) == ("narrow", "mild")
        (only,) = respond(SIGNAL, World(policies, world().transmitter, Seen(), "88mph.com"))
        assert isinstance(only, Act)
        assert only.answer == "quarantine"
