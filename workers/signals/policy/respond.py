"""What is done about a signal.  Pure: the signal, the facts about senders, the policies and the signals seen come in, responses go out.

1. A sender whose word is worth nothing about this event is recorded.
2. A contrary signal takes back what its own sender caused, where there is a policy that can be read.
3. The rules without a count that govern, the strictest first (rules.py).
4. Whom it hits (targets.py).
5. The sender's ceiling: namespaces, the strongest response.  Beyond it the response waits for an operator, and the next one is asked.
6. Rules with a count, each whose window this signal fills (windows.py): every sender in it causes its own part, and who may not cause so
   much is not counted.  Where only those fill it, the response waits too.

No rule, no policy, or one that cannot be read loosens nothing.  How many subjects a minute is `Pace`; whether an instance is the
workload's is the caller's to ask (`Act.doubted`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from weft.digest import sha256

from schemas.facts import Cause, Level, ResponsePolicy, Transmitter
from schemas.responses import Answer
from workers.signals.policy.assess import Signal
from workers.signals.policy.rules import Chosen, applies, counting, pick
from workers.signals.policy.targets import Aim, Target, aimed, beyond_ceiling, of_workload, place_of, within
from workers.signals.policy.windows import Seen, Window

MAX_PARTS = 64  # of one sender that one signal may cause; the latest count
LEVEL: dict[Answer, Level] = {"narrow": "narrowed", "step_up": "step_up", "quarantine": "quarantined"}


@dataclass(frozen=True, slots=True)
class World:
    """What is read besides the signal.  `unreadable`: a response policy exists that cannot be read."""

    policies: Sequence[ResponsePolicy]
    transmitter: Callable[[str], Transmitter | None]
    seen: Seen
    trust_domain: str
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """What a rule asks for.  `causes` go into the posture of the target; an answer without a posture has none."""

    target: Target
    place: str  # over which whoever confirms it must be revoker
    chosen: Chosen
    causes: tuple[Cause, ...]
    doubted: str | None = None  # the workload that the instance must be one of, where a sender may not speak of every workload
    counted: int | None = None
    detail: str | None = None

    @property
    def answer(self) -> Answer:
        """The rule's."""
        return self.chosen.rule.response


@dataclass(frozen=True, slots=True)
class Recorded:
    """Nothing is done.  `waiting`: it is for an operator to do more; `act`, where it is known what."""

    detail: str
    chosen: Chosen | None = None
    waiting: bool = False
    act: Act | None = None


@dataclass(frozen=True, slots=True)
class TakeBack:
    """A contrary cause is added to the postures of these targets, where they have causes of this sender."""

    targets: tuple[Target, ...]
    cause: Cause


Response = Recorded | Act | TakeBack


def respond(signal: Signal, world: World) -> tuple[Response, ...]:
    """At least one; the one of the rule without a count first."""
    if signal.confidence is None:
        return (Recorded("the sender is not trusted about this event"),)  # 1
    if signal.contrary:
        if world.unreadable or not world.policies:
            return (Recorded("without a policy that can be read nothing is taken back", waiting=True),)
        return (_take_back(signal, world),)  # 2
    found = (*_governed(signal, pick(signal, world.policies), world), *_counted(signal, world))  # 3 to 6
    if found:
        return found
    return (Recorded("a policy cannot be read" if world.unreadable else "no rule matches", waiting=world.unreadable),)


def _take_back(signal: Signal, world: World) -> Response:
    """About a transaction or an instance, what was said of that; about an agent as such, what was said of the agent."""
    subject, sender = signal.subject, world.transmitter(signal.iss)
    named: list[Target] = []
    if subject.transaction is not None:
        named.append(Target("transaction", subject.transaction))
    workload = of_workload(subject)
    named += [workload] if workload is not None else []
    named += [Target("user", subject.user)] if subject.user is not None else []
    reach = [
        target
        for target in named
        if sender is not None
        and beyond_ceiling("record", place_of(target, subject, signal.iss, world.trust_domain), sender.ceiling) is None
    ]
    if not reach:
        return Recorded("the signal names nobody within the sender's namespaces")
    cause = Cause(id=signal.id, by=signal.iss, level="normal", event_time=signal.event_time, event=signal.event, at=signal.at)
    return TakeBack(tuple(reach), cause)


# --- rules without a count ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Case:
    """A rule that applies to a signal, and whom it would hit."""

    signal: Signal
    chosen: Chosen
    aim: Aim
    world: World

    def beyond(self, iss: str) -> str | None:
        """Why this sender may not cause it."""
        sender = self.world.transmitter(iss)
        if sender is None or sender.state != "active":
            return "the sender is no active transmitter"
        return beyond_ceiling(self.chosen.rule.response, self.place(iss), sender.ceiling)

    def place(self, iss: str) -> str | None:
        """What its namespaces must lie above."""
        return place_of(self.aim.target, self.signal.subject, iss, self.world.trust_domain)

    def act(self, causes: tuple[Cause, ...], senders: Iterable[str], counted: int | None = None) -> Act:
        """What is to be done."""
        place = self.place(self.signal.iss) or f"spiffe://{self.world.trust_domain}"
        doubted = self.aim.target.scope == "instance" and not all(self._everywhere(iss) for iss in senders)
        workload = self.signal.subject.workload if doubted else None
        return Act(self.aim.target, place, self.chosen, causes, workload, counted, self.aim.detail)

    def _everywhere(self, iss: str) -> bool:
        sender = self.world.transmitter(iss)
        root = f"spiffe://{self.world.trust_domain}"
        return sender is not None and any(within(root, namespace) for namespace in sender.ceiling.namespaces)


def _governed(signal: Signal, chosen: Sequence[Chosen], world: World) -> Iterator[Response]:
    """The strictest answer that the sender may cause; before it the strictest beyond its ceiling, which waits."""
    waits = False
    for one in chosen:
        response = _answered(signal, one, world)
        if not isinstance(response, Recorded) or not response.waiting:
            if not (waits and isinstance(response, Recorded)):  # that something was recorded the one that waits says too
                yield response
            return
        if not waits:
            waits = True
            yield response


def _answered(signal: Signal, chosen: Chosen, world: World) -> Response:
    rule = chosen.rule
    if rule.response == "record":
        return Recorded("as the rule says", chosen)
    aim = aimed(signal.subject, rule)  # 4
    if aim is None:
        return Recorded(f"the signal names no {rule.scope}", chosen, waiting=True)
    case = _Case(signal, chosen, aim, world)
    cause = _cause(chosen, signal, id_=signal.id, by=signal.iss, event_time=signal.event_time, at=signal.at)
    act = case.act((cause,) if cause is not None else (), (signal.iss,))
    beyond = case.beyond(signal.iss)  # 5
    return act if beyond is None else Recorded(beyond, chosen, waiting=True, act=act)


# --- rules with a count -------------------------------------------------------------------------------------------------------------


def _counted(signal: Signal, world: World) -> Iterator[Response]:
    for chosen in counting(world.policies):
        aim = aimed(signal.subject, chosen.rule) if applies(chosen.rule, signal) else None
        response = _of_windows(_Case(signal, chosen, aim, world)) if aim is not None else None
        if response is not None:
            yield response


def _of_windows(case: _Case) -> Response | None:
    """Done by those who may; waiting where it takes those who may not; nothing where no window is full."""

    def about_it(other: Signal) -> bool:
        """Who names the instance of another workload says nothing about this one's."""
        return case.aim.target.scope != "instance" or other.subject.workload == case.signal.subject.workload

    def may(other: Signal) -> bool:
        return about_it(other) and case.beyond(other.iss) is None

    rule, target, seen = case.chosen.rule, case.aim.target, case.world.seen
    full = seen.windows(rule, target, case.signal, may)
    if full:
        return _filled(case, full)
    full = seen.windows(rule, target, case.signal, about_it)
    if full:
        return Recorded("it takes the word of senders that may not cause so much", case.chosen, waiting=True, act=_filled(case, full))
    return None


def _filled(case: _Case, full: Sequence[Window]) -> Act:
    senders = sorted({iss for window in full for iss, _ in window.senders})
    causes = tuple(cause for iss in senders for cause in _parts(iss, case.chosen, full))
    return case.act(causes, senders, max(window.signals for window in full))


def _parts(iss: str, chosen: Chosen, full: Sequence[Window]) -> Iterator[Cause]:
    """What this sender causes: its part of each window, but for those that another part of its own covers: as late, as long, as new."""
    own = [(window, _reach(window, said, chosen)) for window in full for sender, said in window.senders if sender == iss]
    kept: list[tuple[int, int, int]] = []
    for window, part in sorted(own, key=itemgetter(1), reverse=True):
        if len(kept) < MAX_PARTS and not any(other != part and other[1] >= part[1] and other[2] >= part[2] for other in kept):
            kept.append(part)
            id_ = sha256(f"{chosen.policy}\0{chosen.rule.name}\0{window.end.id}\0{iss}")
            cause = _cause(chosen, window.end, id_=id_, by=iss, event_time=part[0], at=window.at)
            yield from () if cause is None else (cause,)


def _reach(window: Window, said: int, chosen: Chosen) -> tuple[int, int, int]:
    """Of one sender's part: from when on it may be taken back, how long it lasts, how new it is where that matters."""
    rule = chosen.rule
    until = window.end.iat if rule.duration_s is not None else 0
    return min(window.since, said), until, window.at if rule.response == "step_up" else 0


# --- both ---------------------------------------------------------------------------------------------------------------------------


def _cause(chosen: Chosen, end: Signal, *, id_: str, by: str, event_time: int, at: int) -> Cause | None:
    """For the posture; none of an answer that has none.  `end`: from when on it lasts."""
    rule = chosen.rule
    level = LEVEL.get(rule.response)
    if level is None:
        return None
    return Cause(
        id=id_,
        by=by,
        level=level,
        event_time=event_time,
        event=end.event,
        rule=rule.name,
        policy=chosen.policy,
        actions=rule.actions,
        purposes=rule.purposes,
        max_ttl_s=rule.max_ttl_s,
        depth=rule.depth,
        needs=rule.needs,
        at=at,
        until=end.iat + rule.duration_s if rule.duration_s is not None else None,
    )
