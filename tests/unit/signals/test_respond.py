"""From a signal to a response: what it is worth, which rule governs, whom it hits, and how far its sender's word reaches."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.facts import ResponsePolicy, Transmitter, TransmitterCeiling
from schemas.responses import ResponseRule
from schemas.signals import CAEP, DETECTIONS, POINTS, RISC, SecurityEventToken
from streams.facts_table import FactsTable
from workers.signals.policy.assess import assess, subject_of
from workers.signals.policy.pace import Pace
from workers.signals.policy.persons import Speaker
from workers.signals.policy.respond import Act, Recorded, Response, TakeBack, World, respond
from workers.signals.policy.targets import Target
from workers.signals.policy.windows import Seen
from workers.signals.telling import Telling
from workers.signals.verify import VerifiedSET

NOW = 1_800_000_000
ISS = "https://risk.example"
AGENT = "spiffe://88mph.com/agents/advisor"
LONG = f"spiffe://88mph.com/agents/{'a' * 600}"  # longer than any that is registered
INSTANCE, UNATTESTED = "i" + "a2" * 13, "k" + "a2" * 13
RISK = f"{CAEP}risk-level-change"
HIGH, MEDIUM, LOW = ({"principal": "WORKLOAD", "current_level": level} for level in ("HIGH", "MEDIUM", "LOW"))
DEFAULT = ResponsePolicy(
    name="default",
    rules=(
        ResponseRule(name="high", confidence="high", response="quarantine"),
        ResponseRule(name="medium", confidence="medium", response="narrow", actions=("read",), max_ttl_s=30, duration_s=600),
        ResponseRule(name="low", confidence="low", response="record"),
    ),
)


def uri(value: str = AGENT) -> dict[str, Any]:
    return {"format": "uri", "uri": value}


def instance(value: str = INSTANCE, workload: str | None = AGENT) -> dict[str, Any]:
    about: dict[str, Any] = {"format": "complex", "instance": {"format": "opaque", "id": value}}
    return about if workload is None else about | {"workload": uri(workload)}


def transmitter(**changes: Any) -> Transmitter:
    ceiling = TransmitterCeiling(
        namespaces=changes.pop("namespaces", ("spiffe://88mph.com/agents",)), strongest=changes.pop("strongest", "quarantine")
    )
    return Transmitter(aud="a", jwks={}, ceiling=ceiling, **{"iss": ISS, "trust": {"*": "high"}, **changes})


def verified(event: str, payload: dict[str, Any], sub_id: dict[str, Any], sender: Transmitter, iat: int = NOW) -> VerifiedSET:
    claims = {"iss": ISS, "iat": iat, "jti": "j1", "aud": ["a"], "sub_id": sub_id, "events": {event: payload}}
    return VerifiedSET(SecurityEventToken.model_validate(claims, strict=False), sender)


def answer(
    payload: dict[str, Any],
    sub_id: dict[str, Any] | None = None,
    *,
    event: str = RISK,
    policies: tuple[ResponsePolicy, ...] = (DEFAULT,),
    unreadable: bool = False,
    **sender: Any,
) -> Response:
    held = transmitter(**sender)
    signal = assess(verified(event, payload, sub_id or instance(), held), (), stored_at=NOW)
    world = World(policies, lambda iss: held if iss == ISS else None, Seen(), "88mph.com", unreadable)
    return respond(signal, world)[0]


@pytest.mark.parametrize(
    ("event", "payload", "confidence"),
    [
        (RISK, HIGH, "high"),
        (RISK, MEDIUM, "medium"),
        (RISK, LOW, "low"),
        (f"{CAEP}session-revoked", {}, "high"),
        (f"{CAEP}credential-change", {"credential_type": "x509", "change_type": "revoke"}, "high"),
        (f"{CAEP}credential-change", {"credential_type": "x509", "change_type": "create"}, "low"),
        (f"{CAEP}assurance-level-change", {"namespace": "NIST-AAL", "current_level": "1", "change_direction": "decrease"}, "medium"),
        (f"{CAEP}assurance-level-change", {"namespace": "NIST-AAL", "current_level": "1"}, "low"),
        (f"{CAEP}device-compliance-change", {"previous_status": "compliant", "current_status": "not-compliant"}, "medium"),
        (f"{CAEP}session-established", {"fp_ua": "a"}, "low"),
        (f"{RISC}account-disabled", {"reason": "hijacking"}, "high"),
        (f"{RISC}credential-compromise", {"credential_type": "password"}, "high"),
        (f"{RISC}account-credential-change-required", {}, "medium"),
        ("https://unknown.example/event", {"current_level": "HIGH"}, "low"),
        (RISK, {**HIGH, "confidence": "low"}, "low"),
        (RISK, {**MEDIUM, "confidence": "high"}, "medium"),
        (RISK, {**HIGH, "confidence": 9}, "low"),
    ],
)
def test_the_confidence_of_an_event(event: str, payload: dict[str, Any], confidence: str) -> None:
    """INVARIANT: a member sent along can lower the confidence and never raise it.

    Broken by taking the sender's own `confidence` for what it is.
    """
    assert assess(verified(event, payload, uri(), transmitter()), (), stored_at=NOW).confidence == confidence


def test_trust_bounds_the_word_and_none_is_worth_nothing() -> None:
    held = transmitter(trust={RISK: "medium"})
    assert assess(verified(RISK, HIGH, uri(), held), (), stored_at=NOW).confidence == "medium"
    assert assess(verified(f"{CAEP}session-revoked", {}, uri(), held), (), stored_at=NOW).confidence is None


@pytest.mark.parametrize(("said", "counts"), [(NOW - 50, NOW - 50), (NOW - 0.5, NOW - 1), (NOW + 50, NOW), (NOW * 1000, NOW), (None, NOW)])
def test_nothing_happened_later_than_it_was_said(said: Any, counts: int) -> None:
    """INVARIANT: a sender cannot date its word into the future.

    Broken by believing `event_timestamp`: a contrary signal of next year would take back everything said until then.
    """
    payload = {**HIGH, "event_timestamp": said}
    assert assess(verified(RISK, payload, uri(), transmitter()), (), stored_at=NOW + 5).event_time == counts
    assert assess(verified(RISK, HIGH, uri(), transmitter(), iat=NOW + 30), (), stored_at=NOW).event_time == NOW


def test_high_quarantines_the_instance_alone() -> None:
    acted = answer(HIGH)
    assert isinstance(acted, Act)
    assert acted.target == Target("instance", INSTANCE)
    assert (acted.causes[0].level, acted.causes[0].by, acted.causes[0].until, acted.chosen.rule.name) == ("quarantined", ISS, None, "high")


def test_medium_narrows_for_a_while() -> None:
    acted = answer(MEDIUM)
    assert isinstance(acted, Act)
    assert (acted.causes[0].level, acted.causes[0].actions, acted.causes[0].max_ttl_s, acted.causes[0].until) == (
        "narrowed",
        ("read",),
        30,
        NOW + 600,
    )


def test_an_instance_no_issuer_attested_is_not_told_from_its_siblings_and_the_record_says_so() -> None:
    acted = answer(HIGH, instance(UNATTESTED))
    assert isinstance(acted, Act)
    assert acted.target == Target("agent", AGENT)
    assert acted.detail is not None
    assert "not attested" in acted.detail


@pytest.mark.parametrize(
    ("sub_id", "target"),
    [
        (uri(), Target("agent", AGENT)),
        ({"format": "complex", "workload": uri(), "user": {"format": "email", "email": "m@88mph.com"}}, Target("agent", AGENT)),
    ],
)
def test_a_signal_about_an_agent_hits_the_agent(sub_id: dict[str, Any], target: Target) -> None:
    acted = answer(HIGH, sub_id)
    assert isinstance(acted, Act)
    assert acted.target == target


WAITING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "outside its namespaces": (instance(workload="spiffe://88mph.com/tools/x"), {}),
    "another trust domain": (instance(workload="spiffe://evil.com/agents/x"), {}),
    "a namespace with the same beginning": (instance(workload="spiffe://88mph.com/agentsmith"), {}),
    "an instance of nobody": (instance(workload=None), {}),
    "no instance id": (instance("not-an-id"), {}),
    "stronger than it may": (instance(), {"strongest": "narrow"}),
    "a person, by a sender of one namespace": ({"format": "email", "email": "m@88mph.com"}, {}),
    "a session we cannot know": ({"format": "opaque", "id": "s1"}, {}),
    "a workload that is none": (uri("https://88mph.com/agents/advisor"), {}),
}


@pytest.mark.parametrize(("sub_id", "sender"), WAITING.values(), ids=WAITING)
def test_beyond_the_ceiling_nothing_is_done_and_it_is_said(sub_id: dict[str, Any], sender: dict[str, Any]) -> None:
    """INVARIANT: a signal moves no more than its sender may; what is left undone waits for an operator, on record.

    Broken by clipping a response down, by comparing namespaces as text, or by widening an instance that cannot be known to its agent.
    """
    recorded = answer(HIGH, sub_id, **sender)
    assert isinstance(recorded, Recorded)
    assert recorded.waiting
    assert recorded.detail


def test_a_person_is_hit_by_a_sender_of_the_whole_trust_domain() -> None:
    acted = answer(HIGH, {"format": "email", "email": "m@88mph.com"}, namespaces=("spiffe://88mph.com",))
    assert isinstance(acted, Act)
    assert acted.target == Target("user", "m@88mph.com")


@pytest.mark.parametrize("policies", [(), (ResponsePolicy(name="empty", rules=()),)], ids=["none", "empty"])
@pytest.mark.parametrize("unreadable", [False, True])
def test_an_empty_or_bad_policy_opens_nothing_and_nothing_is_ignored(policies: tuple[ResponsePolicy, ...], unreadable: bool) -> None:
    """INVARIANT: without a policy that can be read nothing is taken back and nothing is done, and both are on record.

    Broken by treating a missing policy as "no response needed" for contrary signals: deleting the policy would open the door.
    """
    assert isinstance(answer(HIGH, policies=policies, unreadable=unreadable), Recorded)
    if unreadable or not policies:
        assert isinstance(answer(LOW, policies=policies, unreadable=unreadable), Recorded)


def test_a_contrary_signal_takes_back_about_whom_it_speaks() -> None:
    back = answer(LOW)
    assert isinstance(back, TakeBack)
    assert back.targets == (Target("instance", INSTANCE),)
    assert back.cause.level == "normal"
    about_agent = answer(LOW, uri())
    assert isinstance(about_agent, TakeBack)
    assert about_agent.targets == (Target("agent", AGENT),)
    assert isinstance(answer(LOW, instance(workload="spiffe://88mph.com/tools/x")), Recorded)


@pytest.mark.parametrize("iss", [POINTS, DETECTIONS])
def test_a_small_suspicion_of_the_fabrics_own_is_no_all_clear(iss: str) -> None:
    """INVARIANT: what guards and detections say takes nothing back, however low its level.

    Broken by reading LOW as the word of a transmitter that thought better of it: a tool that says of a caller what is worth `low` would
    lift what every other guard caused, and an agent its own quarantine by setting off the cheapest of the detections.
    """
    held = transmitter(iss=iss)
    claims = {"iss": iss, "iat": NOW, "jti": "j1", "aud": ["a"], "sub_id": instance(), "events": {RISK: LOW}}
    signal = assess(VerifiedSET(SecurityEventToken.model_validate(claims, strict=False), held), (), stored_at=NOW)
    (said,) = respond(signal, World((DEFAULT,), lambda _: held, Seen(), "88mph.com"))
    assert isinstance(said, Recorded)
    assert said.chosen is not None
    assert said.chosen.rule.name == "low"


@pytest.mark.parametrize("sub_id", [uri(LONG), instance(workload=LONG)], ids=["agent", "instance"])
def test_a_workload_that_no_record_holds_is_nobody(sub_id: dict[str, Any]) -> None:
    """INVARIANT: whatever a sender says of whom, what comes of it can be put on record.

    Broken by taking a SPIFFE ID of any length: the record of the response refuses it, each time the signal is delivered again, and a few
    hundred such signals keep everybody else's from being answered.
    """
    held = transmitter()
    signal = assess(verified(RISK, HIGH, sub_id, held), (), stored_at=NOW)
    (said,) = respond(signal, World((DEFAULT,), lambda _: held, Seen(), "88mph.com"))
    assert isinstance(said, Recorded)
    told = Telling(FactsTable(), None, None, None).undone(signal, said, None)  # type: ignore[arg-type]  # it asks nobody
    assert told.agent is None


def rule(name: str, confidence: str, response: str, **more: Any) -> ResponseRule:
    return ResponseRule.model_validate({"name": name, "confidence": confidence, "response": response, **more})


def picked(*policies: tuple[ResponseRule, ...], payload: dict[str, Any] = HIGH) -> str | None:
    found = answer(payload, policies=tuple(ResponsePolicy(name=f"p{i}", rules=rules) for i, rules in enumerate(policies)))
    return found.chosen.rule.name if isinstance(found, Act | Recorded) and found.chosen is not None else None


def test_the_first_rule_of_the_highest_confidence_reached_governs() -> None:
    rules = (rule("low", "low", "quarantine"), rule("first", "high", "step_up"), rule("second", "high", "quarantine"))
    assert picked(rules) == "first"
    assert picked(rules, payload=MEDIUM) == "low"


def test_of_several_policies_the_strictest_governs() -> None:
    weak, strict = (rule("weak", "high", "record"),), (rule("strict", "medium", "step_up"),)
    assert picked(weak, strict) == picked(strict, weak) == "strict"


def test_a_rule_is_for_the_events_it_names() -> None:
    assert (
        picked((rule("other", "low", "quarantine", events=(f"{RISC}*",)), rule("this", "low", "step_up", events=(f"{CAEP}risk*",))))
        == "this"
    )


def test_scopes_widen_only_as_far_as_the_signal() -> None:
    by_agent = answer(HIGH, policies=(ResponsePolicy(name="p", rules=(rule("a", "high", "quarantine", scope="agent"),)),))
    assert isinstance(by_agent, Act)
    assert by_agent.target == Target("agent", AGENT)
    by_user = answer(HIGH, policies=(ResponsePolicy(name="p", rules=(rule("u", "high", "quarantine", scope="user"),)),))
    assert isinstance(by_user, Recorded)
    assert by_user.waiting


def test_a_senders_pace_is_counted_in_subjects_a_minute() -> None:
    pace = Pace()
    first, second, third = (Target("agent", f"spiffe://88mph.com/{n}") for n in "abc")
    assert pace.allows(ISS, first, 0.0, 2)
    assert pace.allows(ISS, first, 1.0, 2)  # the same one again
    assert pace.allows(ISS, second, 2.0, 2)
    assert not pace.allows(ISS, third, 3.0, 2)
    assert pace.allows("https://other", third, 3.0, 2)
    assert pace.allows(ISS, third, 61.0, 2)


def test_a_complex_subject_is_read_member_by_member() -> None:
    claims = {
        "format": "complex",
        "user": {"format": "email", "email": "m@88mph.com"},
        "workload": uri(),
        "instance": {"format": "opaque", "id": INSTANCE},
    }
    read = subject_of(verified(RISK, {}, claims, transmitter()).claims.sub_id, Speaker(transmitter(), ()))
    assert (read.workload, read.instance, read.user) == (AGENT, INSTANCE, "m@88mph.com")
