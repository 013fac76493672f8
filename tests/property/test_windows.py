"""The laws of rules that count: what comes of a set of signals is a function of the set."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from weft.digest import sha256

from schemas.facts import ResponsePolicy, Transmitter, TransmitterCeiling
from schemas.responses import ResponseRule
from schemas.signals import CAEP
from workers.signals.policy.assess import Signal, Subject
from workers.signals.policy.posture import normalise, posture_of, rank
from workers.signals.policy.respond import Act, Recorded, TakeBack, World, respond
from workers.signals.policy.targets import Target
from workers.signals.policy.windows import Seen

A, B, WEAK = "https://a.example", "https://b.example", "https://weak.example"
AGENT = "spiffe://88mph.com/agents/a"
INSTANCES = ("i" + "a2" * 13, "i" + "b3" * 13)
NOW = 10_000
RISK = f"{CAEP}risk-level-change"


def sender(iss: str) -> Transmitter | None:
    ceiling = TransmitterCeiling(namespaces=("spiffe://88mph.com",), strongest="narrow" if iss == WEAK else "quarantine")
    return Transmitter(iss=iss, aud="a", jwks={}, trust={"*": "high"}, ceiling=ceiling)


@st.composite
def policies(draw: st.DrawFn) -> tuple[ResponsePolicy, ...]:
    def rule(name: str, **more: Any) -> ResponseRule:
        return ResponseRule(name=name, confidence="medium", **more)

    lasts = draw(st.sampled_from([None, 5, 50]))
    counted = rule(
        "counted",
        count=draw(st.integers(2, 4)),
        within_s=draw(st.integers(2, 8)),
        response=draw(st.sampled_from(["step_up", "quarantine"])),
        scope=draw(st.sampled_from(["instance", "agent"])),
        duration_s=lasts,
    )
    plain = rule("plain", response="narrow", actions=("read",), duration_s=lasts)
    return (ResponsePolicy(name="p", rules=(plain, counted)),)


@st.composite
def stories(draw: st.DrawFn) -> list[Signal]:
    made = []
    for n in range(draw(st.integers(1, 9))):
        at = draw(st.integers(1, 16))
        iss = draw(st.sampled_from([A, A, B, WEAK]))
        contrary = draw(st.sampled_from([False, False, False, True]))
        subject = Subject(workload=AGENT, instance=draw(st.sampled_from([None, *INSTANCES])))
        made.append(
            Signal(
                id=f"{sha256(iss)}.{n}",
                iss=iss,
                jti=str(n),
                event=RISK,
                subject=subject,
                confidence="low" if contrary else "medium",
                contrary=contrary,
                event_time=at,
                iat=at,
                at=at + draw(st.integers(0, 20)),
            )
        )
    return made


def come_of(story: list[Signal], given_policies: tuple[ResponsePolicy, ...], now: int) -> dict[Target, Any]:
    """The postures, when these signals are answered in this order."""
    seen, causes = Seen(), {}
    for signal in story:
        seen.add(signal)
        for response in respond(signal, World(given_policies, sender, seen, "88mph.com")):
            if isinstance(response, Act):
                causes[response.target] = normalise((*causes.get(response.target, ()), *response.causes), now)
            elif isinstance(response, TakeBack):
                for target in response.targets:
                    causes[target] = normalise((*causes.get(target, ()), response.cause), now)
    postures = {target: posture_of(target.scope, target.digest, target.value, held, revoke=False) for target, held in causes.items()}
    return {target: posture for target, posture in postures.items() if posture.causes}


@given(stories(), policies(), st.randoms(), st.lists(st.integers(0, 8), max_size=5), st.integers(0, 60))
@settings(max_examples=400, deadline=None)
def test_order_and_repetition_of_counted_signals_change_nothing(
    story: list[Signal], given_policies: tuple[ResponsePolicy, ...], random: Any, again: list[int], now: int
) -> None:
    """INVARIANT: shuffled, repeated or late signals make the same posture, those of rules that count too.

    Broken by counting what had arrived instead of what had happened, by looking at the window that ends at the newcomer alone, or by
    counting one signal twice.
    """
    shuffled = [*story, *(story[i] for i in again if i < len(story))]
    random.shuffle(shuffled)
    assert come_of(shuffled, given_policies, now) == come_of(story, given_policies, now)


@given(stories(), policies())
@settings(max_examples=200, deadline=None)
def test_a_window_is_full_exactly_when_so_many_happened_within_it(story: list[Signal], given_policies: tuple[ResponsePolicy, ...]) -> None:
    """Against a count by hand, without what is taken back or run out: signals of senders that may, about the rule's target."""
    story = [signal for signal in story if not signal.contrary]
    counted = given_policies[0].rules[1]
    level = {"step_up": "step_up", "quarantine": "quarantined"}[counted.response]
    got = come_of(story, given_policies, -1)
    targets = {_target(signal, counted.scope) for signal in story}
    for target in targets:
        about = [s for s in story if _target(s, counted.scope) == target and s.iss != WEAK]
        full = any(sum(end.event_time - counted.within_s < s.event_time <= end.event_time for s in about) >= counted.count for end in about)
        posture = got.get(target)
        assert (posture is not None and rank(posture.level) >= rank(level)) == full


def _target(signal: Signal, scope: str) -> Target:
    if scope == "instance" and signal.subject.instance is not None:
        return Target("instance", signal.subject.instance)
    return Target("agent", AGENT)


@given(stories(), policies())
@settings(max_examples=200, deadline=None)
def test_who_may_not_cause_so_much_is_not_counted_towards_it(story: list[Signal], given_policies: tuple[ResponsePolicy, ...]) -> None:
    """INVARIANT: a sender whose ceiling is below a rule's answer adds nothing to its count.

    Broken by counting everybody: two words of somebody who may only narrow and one of another would quarantine.
    """
    without = [signal for signal in story if signal.iss != WEAK]
    strict = {target: posture.level for target, posture in come_of(without, given_policies, -1).items() if rank(posture.level) > 1}
    found = come_of(story, given_policies, -1)
    assert {target: posture.level for target, posture in found.items() if rank(posture.level) > 1} == strict


@given(stories(), policies())
@settings(max_examples=100, deadline=None)
def test_what_only_they_would_fill_waits(story: list[Signal], given_policies: tuple[ResponsePolicy, ...]) -> None:
    weak = [signal for signal in story if signal.iss == WEAK and not signal.contrary]
    seen = Seen()
    for signal in weak:
        seen.add(signal)
        answers = respond(signal, World(given_policies, sender, seen, "88mph.com"))
        assert all(isinstance(r, Recorded) and r.waiting and r.act is not None for r in answers[1:])
