"""The laws of postures, over sets of causes."""

from __future__ import annotations

from functools import reduce

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.facts import Cause, Posture
from workers.signals.policy.posture import OPERATOR, meet, normalise, posture_of, rank, tightened

PATTERNS = st.sampled_from([None, ("*",), ("read",), ("read", "refund"), ("re*",), ("refund*", "check"), ()])
SENDERS = ["https://a.example", "https://b.example"]


@st.composite
def causes(draw: st.DrawFn) -> list[Cause]:
    """Signals of two transmitters and commands of a person, each with an id of its own."""
    count = draw(st.integers(0, 8))
    made = []
    for i in range(count):
        by = draw(st.sampled_from([*SENDERS, "UPERSON"]))
        made.append(
            Cause(
                id=f"c{i}",
                by=by,
                level=draw(st.sampled_from(["normal", "narrowed", "step_up", "quarantined"])),
                event_time=draw(st.integers(0, 6)),
                event=OPERATOR if by == "UPERSON" else "https://events.example/risk",
                actions=draw(PATTERNS),
                purposes=draw(PATTERNS),
                max_ttl_s=draw(st.sampled_from([None, 30, 60])),
                until=draw(st.sampled_from([None, 3, 8, 20])),
            )
        )
    return made


def of(found: tuple[Cause, ...]) -> Posture:
    return posture_of("instance", "T" * 22, None, found, revoke=False)


@given(causes(), st.randoms(), st.lists(st.integers(0, 7), max_size=6), st.integers(0, 25))
@settings(max_examples=400, deadline=None)
def test_order_and_repetition_change_nothing(made: list[Cause], random: object, repeated: list[int], now: int) -> None:
    """INVARIANT: shuffled, repeated or late signals make the same posture.

    Broken by letting the last one to arrive win, or by forgetting a contrary signal once it has done its work: what it took back would
    return with a late delivery.
    """
    shuffled = [*made, *(made[i] for i in repeated if i < len(made))]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    at_once = normalise(made, now)
    one_by_one = reduce(lambda held, cause: normalise([*held, cause], now), shuffled, ())
    assert of(one_by_one) == of(at_once)


@given(causes(), causes(), st.integers(0, 25), st.integers(0, 25))
@settings(max_examples=300, deadline=None)
def test_what_ran_out_on_the_way_is_as_if_it_had_run_out_at_the_end(first: list[Cause], then: list[Cause], start: int, later: int) -> None:
    then = [cause.model_copy(update={"id": f"d{cause.id}"}) for cause in then]
    now = start + later
    assert of(normalise([*normalise(first, start), *then], now)) == of(normalise([*first, *then], now))


@given(causes(), st.integers(0, 25))
@settings(max_examples=300, deadline=None)
def test_the_strictest_cause_in_force_wins_and_what_is_left_out_adds_nothing(made: list[Cause], now: int) -> None:
    """INVARIANT: dropping causes never loosens a posture.

    Broken by dropping a cause that another does not cover wholly: by level alone, say, while its limits were narrower.
    """
    posture = of(normalise(made, now))
    lifted = max((c.event_time for c in made if c.level == "normal" and c.event == OPERATOR), default=-1)
    for cause in made:
        own = max((c.event_time for c in made if c.level == "normal" and c.by == cause.by), default=-1)
        in_force = cause.event_time >= max(lifted, own) and (cause.until is None or cause.until > now)
        if cause.level != "normal" and in_force:
            assert rank(posture.level) >= rank(cause.level)
            if posture.level != "quarantined":
                assert cause.actions is None or meet(posture.actions, cause.actions) == posture.actions
                assert cause.max_ttl_s is None or posture.max_ttl_s <= cause.max_ttl_s


@given(causes(), causes(), st.integers(0, 25))
@settings(max_examples=300, deadline=None)
def test_a_contrary_signal_lifts_only_what_its_own_sender_caused(made: list[Cause], more: list[Cause], now: int) -> None:
    """INVARIANT: what a transmitter takes back is its own.

    Broken by a contrary signal that lifts a posture as a whole: any transmitter could free what another one quarantined.
    """
    contrary = [
        cause.model_copy(update={"id": f"d{cause.id}", "by": SENDERS[0], "level": "normal", "event": "https://events.example/risk"})
        for cause in more
    ]
    others = [cause for cause in made if cause.by != SENDERS[0]]
    with_them = of(normalise([*made, *contrary], now))
    assert rank(with_them.level) >= rank(of(normalise(others, now)).level)


@given(causes(), causes(), st.integers(0, 25))
@settings(max_examples=300, deadline=None)
def test_whatever_forbids_more_than_before_revokes(made: list[Cause], more: list[Cause], now: int) -> None:
    """INVARIANT: a posture that forbids something the one before allowed revokes what was minted before it.

    Broken by looking at the level alone: a narrower list of actions would leave the wider tokens alive.
    """
    more = [cause.model_copy(update={"id": f"d{cause.id}"}) for cause in more]
    before, after = of(normalise(made, now)), of(normalise([*made, *more], now))
    forbids = rank(after.level) > rank(before.level) or after.max_ttl_s < before.max_ttl_s
    forbids = forbids or meet(after.actions, before.actions) != meet(before.actions, before.actions)
    assert not forbids or tightened(before, after)
    assert not tightened(before, before)
