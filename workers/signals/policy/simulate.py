"""Plays a case: the same functions that answer signals in a fabric, over a story, without one.  Pure.

What is left out is what a fabric asks of others: signatures, and whether an instance is of the workload that a signal names (here it is).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.facts import Cause, Posture, Transmitter
from schemas.signals import CAEP, SecurityEventToken
from schemas.subject_ids import person_in
from workers.common.manifest import ManifestError
from workers.signals.policy.assess import Signal, assess
from workers.signals.policy.cases import Case, Said, Standing, Suite
from workers.signals.policy.pace import Pace
from workers.signals.policy.posture import normalise, posture_of
from workers.signals.policy.respond import Act, Recorded, Response, TakeBack, World, respond
from workers.signals.policy.targets import Target
from workers.signals.policy.windows import Seen
from workers.signals.verify import VerifiedSET

BEGIN = 1_800_000_000  # second 0 of every case


@dataclass
class Played:
    """What came of it."""

    answers: list[tuple[str, ...]] = field(default_factory=list)  # for each signal
    because: list[str] = field(default_factory=list)  # the rules, or why there was none
    causes: dict[Target, list[tuple[int, Cause]]] = field(default_factory=dict)  # each with when its signal arrived

    def posture(self, scope: str, value: str, now: int) -> Posture:
        """As it stands at that second of the case."""
        target = Target(scope, value)  # type: ignore[arg-type]  # one of Scope
        causes = normalise((cause for at, cause in self.causes.get(target, ()) if at <= BEGIN + now), BEGIN + now)
        return posture_of(scope, target.digest, value, causes, revoke=False)  # type: ignore[arg-type]

    def add(self, target: Target, at: int, causes: Sequence[Cause]) -> None:
        """They were added then."""
        self.causes.setdefault(target, []).extend((at, cause) for cause in causes)


def play(suite: Suite, case: Case) -> Played:
    """Raises ManifestError for a signal that no SET could be."""
    played, seen, pace = Played(), Seen(), Pace()
    senders = {transmitter.iss: transmitter for transmitter in suite.transmitters}
    for number, said in enumerate(case.signals, 1):
        signal = _signal(case, number, said, suite)
        seen.add(signal)
        world = World(suite.policies, senders.get, seen, suite.trust_domain)
        answered = [_carry_out(played, pace, signal, response, senders) for response in respond(signal, world)]
        played.answers.append(tuple(sorted(answer for answer, _ in answered)))
        played.because.append("; ".join(why for _, why in answered))
    return played


def compare(case: Case, played: Played) -> Iterator[str]:
    """What is not as expected."""
    expected = case.expect.answers
    if expected is not None and len(expected) != len(case.signals):
        yield f"{len(expected)} answers are expected of {len(case.signals)} signals"
    for number, (wanted, got) in enumerate(zip(expected or (), played.answers, strict=False), 1):
        if tuple(sorted(wanted)) != got:
            yield f"signal {number}: expected {_words(wanted)}, got {_words(got)} ({played.because[number - 1]})"
    look = case.look if case.look is not None else max(said.at for said in case.signals)
    for wanted_posture in case.expect.postures:
        yield from _differs(wanted_posture, played.posture(wanted_posture.scope, wanted_posture.value, look), look)


def _differs(wanted: Standing, got: Posture, look: int) -> Iterator[str]:
    where = f"{wanted.scope} {wanted.value} at {look} s"
    needs = tuple(step_up.needs for step_up in got.step_ups)
    for name, expected, found in (
        ("level", wanted.level, got.level),
        ("needs", None if wanted.needs is None else tuple(sorted(wanted.needs)), needs),
        *((name, getattr(wanted, name), getattr(got, name)) for name in ("actions", "purposes", "max_ttl_s", "depth")),
    ):
        if expected is not None and expected != found:
            yield f"{where}: expected {name} {_words(expected)}, got {_words(found)}"


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


# --- one signal -----------------------------------------------------------------------------------------------------------------------


def _signal(case: Case, number: int, said: Said, suite: Suite) -> Signal:
    sender = next((one for one in suite.transmitters if one.iss == said.sender), None)
    if sender is None:
        raise ManifestError(f"case '{case.case}', signal {number}: {said.sender} is no transmitter of this file")
    event = said.event if "://" in said.event else CAEP + said.event
    payload = {"event_timestamp": BEGIN + (said.at if said.happened is None else said.happened), **said.payload}
    if said.level is not None:
        payload |= {"principal": "WORKLOAD", "current_level": said.level.upper()}
    claims = {
        "iss": said.sender,
        "iat": BEGIN + said.at,
        "jti": said.id or f"signal-{number}",
        "aud": sender.aud,
        "sub_id": _subject(said),
        "events": {event: payload},
    }
    try:
        verified = VerifiedSET(SecurityEventToken.model_validate(claims, strict=False), sender)
        return assess(verified, suite.issuers, stored_at=BEGIN + said.at)
    except ValueError as error:
        faults = "; ".join(str(error).splitlines()[1:3]) or "it is no SET"
        raise ManifestError(f"case '{case.case}', signal {number}: {faults.strip()}") from None


def _subject(said: Said) -> dict[str, Any]:
    members: dict[str, Any] = {
        name: {"format": "opaque", "id": value}
        for name, value in (("instance", said.instance), ("transaction", said.transaction), ("key", said.key))
        if value is not None
    }
    if said.workload is not None:
        members["workload"] = {"format": "uri", "uri": said.workload}
    if said.user is not None:
        members["user"] = person_in(said.user)
    return {"format": "complex", **members}


def _carry_out(played: Played, pace: Pace, signal: Signal, response: Response, senders: dict[str, Transmitter]) -> tuple[str, str]:
    most = senders[signal.iss].ceiling.subjects_per_minute
    match response:
        case Act():
            if not pace.allows(signal.iss, response.target, signal.at, most):
                return f"waits:{response.answer}", f"more than {most} subjects a minute"
            played.add(response.target, signal.at, response.causes)
            return response.answer, f"rule {response.chosen.rule.name} of {response.chosen.policy}"
        case TakeBack():
            for target in response.targets:
                played.add(target, signal.at, (response.cause,))
            return "lift", "a contrary signal"
        case Recorded():
            if response.chosen is None:
                return "none", response.detail
            rule = response.chosen.rule
            return (f"waits:{rule.response}" if response.waiting else rule.response), f"rule {rule.name}: {response.detail}"
