"""Promise 5 as a state machine: writers, standbys and guards live and die, deliveries go every way, and a backup is restored.

Everything here is real but the stream and the network: `Writer`, `ledger.recover`, `RevocationView`, the guard's own `check_view`.  The
same machine against a real nats-server is tests/integration/test_revocation_machine.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import lru_cache

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from weft.claims import VerifiedToken
from weft.enforcement import check_view
from weft.errors import InvalidRevocation, Refused
from weft.revocation import RevocationView
from weft.token import SKEW_S, verify_token

from bench.guard import TOOL
from schemas.revocation import BEACON_TYP, ENTRY_TYP, Beacon, Entry
from tests.support.ledger import KEYS, Copies
from tests.support.signed import ISSUER, NOW, TokenKey, claims
from workers.revocation.signing import verify_own

GUARDS, COPIES, TOKENS = 1, 2, 3  # views know nothing of one another: one guard that is replaced is as good as many
KEY = TokenKey()
BASE = verify_token(KEY.sign(claims()), {KEY.kid: KEY.public}, issuer=ISSUER, audiences=["88mph.com"], now=NOW)
Message = tuple[str, str, str]
BUDGET_S = 3
COPY, POINT = st.integers(0, COPIES - 1), st.integers(0, GUARDS - 1)


@lru_cache(maxsize=100_000)
def opened(typ: str, jws: str) -> Entry | Beacon:
    return verify_own(jws, typ, Entry if typ == ENTRY_TYP else Beacon, KEYS)  # type: ignore[type-var]


@dataclass
class Point:
    """A guard process: its view, and what it acknowledged, as entry and target."""

    view: RevocationView = field(default_factory=lambda: RevocationView(KEYS.get))
    acknowledged: set[tuple[int, str]] = field(default_factory=set)
    heard: set[Message] = field(default_factory=set)  # and taken

    def deliver(self, message: Message) -> None:
        try:
            (self.view.apply_entry if message[0] == ENTRY_TYP else self.view.apply_beacon)(message[1])
        except InvalidRevocation:
            return
        self.heard.add(message)

    def acknowledge(self) -> None:
        """Everything applied counts here; a poisoned guard says nothing more (weft.follower)."""
        if not self.view.poisoned:
            self.acknowledged |= {(n, target) for target, n in self.view._hit.items()}

    def accepts(self, token: VerifiedToken, now: float) -> bool:
        try:
            check_view(token, TOOL, self.view, now)
        except Refused:
            return False
        return True

    def must_refuse(self, token: VerifiedToken) -> bool:
        return any(n > token.rev and target in token.targets for n, target in self.acknowledged)


class Machine(RuleBasedStateMachine):
    """Rules are what may happen; the invariant is looked at after each."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.copies = Copies()
        self.points = {index: Point() for index in range(GUARDS)}
        self.tokens: dict[int, VerifiedToken] = {}
        self.ever: dict[
            Message, set[tuple[int, str]]
        ] = {}  # all that was ever on the stream, and the entries before it, as entry and target
        self.backup: list[Message] = []
        self.number = 0

    def teardown(self) -> None:
        self.loop.close()

    def run(self, coroutine) -> None:  # type: ignore[no-untyped-def]
        self.loop.run_until_complete(coroutine)
        before: set[tuple[int, str]] = set()
        for message in self.copies.stream.log:
            if message[0] == ENTRY_TYP:
                entry = opened(*message[:2])
                assert isinstance(entry, Entry)
                before = before | {(entry.n, target.digest) for target in entry.targets}
            self.ever.setdefault(message, before)

    @property
    def now(self) -> float:
        return self.copies.wall.at

    @initialize()
    def a_writer(self) -> None:
        self.run(self.copies.take_over(0))
        self.back_up()

    # --- writers --------------------------------------------------------------------------------------------------------------

    @rule(copy=COPY, fault=st.sampled_from(["none", "none", "request", "answer"]))
    def take_over(self, copy: int, fault: str) -> None:
        """A standby that heard nothing for too long, rightly or not; or a writer that was killed and has started again."""
        self.copies.kill(copy)
        self.copies.stream.fault = fault
        self.run(self.copies.take_over(copy))

    @rule(copy=COPY, tokens=st.lists(st.integers(0, TOKENS - 1), min_size=1, max_size=3), fault=st.sampled_from(["none", "none", "answer"]))
    def revoke(self, copy: int, tokens: list[int], fault: str) -> None:
        if self.copies.writers[copy] is None:
            self.run(self.copies.take_over(copy))
        for token in tokens:
            self.run(self.copies.commit(copy, token))
        self.copies.stream.fault = fault
        self.run(self.copies.beacon(copy))

    # --- tokens ---------------------------------------------------------------------------------------------------------------

    @rule(behind=st.integers(0, 2))
    def mint(self, behind: int) -> None:
        """By a broker whose view may lag, within its budget; a token's number is its id, and no second one of that number is minted."""
        entries = [opened(typ, jws).at for typ, jws, _ in self.copies.stream.log if typ == ENTRY_TYP]
        committed, behind = len(entries), min(behind, sum(at >= self.now - BUDGET_S for at in entries))
        for token in range(TOKENS):
            minted = replace(BASE, jti=str(token), rev=max(0, committed - behind), iat=int(self.now), exp=int(self.now) + 300)
            self.tokens.setdefault(token, minted)

    # --- guards, and what reaches them ----------------------------------------------------------------------------------------

    @rule(point=POINT, data=st.data())
    def deliver_something(self, point: int, data: st.DataObject) -> None:
        """One message, in whatever order, again or for the first time, of this history or of one that was lost."""
        if self.ever:
            self.points[point].deliver(data.draw(st.sampled_from(list(self.ever))))

    @rule(point=POINT)
    def deliver_the_newest_alone(self, point: int) -> None:
        """Most often a beacon of entries that this guard never saw."""
        for message in self.copies.stream.log[-1:]:
            self.points[point].deliver(message)

    @rule(point=POINT)
    def catch_up_and_acknowledge(self, point: int) -> None:
        for message in self.copies.stream.log:
            self.points[point].deliver(message)
        self.points[point].acknowledge()

    @rule(point=POINT)
    def kill_a_guard(self, point: int) -> None:
        """What starts in its place is another point, and has acknowledged nothing."""
        self.points[point] = Point()

    # --- the world --------------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.3, 2.5, 70.0, 200.0]), copy=COPY, reached=st.booleans())
    def later(self, seconds: float, copy: int, reached: bool) -> None:
        """Time passes, a writer goes on, and its beacon reaches the guard or does not."""
        self.copies.wall.at += seconds
        if self.copies.writers[copy] is None:
            self.run(self.copies.take_over(copy))
        self.run(self.copies.beacon(copy))
        if reached:
            self.catch_up_and_acknowledge(0)

    @rule()
    def back_up(self) -> None:
        self.backup = list(self.copies.stream.log)

    @rule()
    def restore_the_backup(self) -> None:
        """The server comes back with what it once held; its writers have died with it."""
        self.copies.stream.log = list(self.backup)
        for copy in range(COPIES):
            self.copies.kill(copy)
        self.run(self.copies.take_over(0))

    # --- what must hold -----------------------------------------------------------------------------------------------------------

    @invariant()
    def nothing_acknowledged_is_accepted(self) -> None:
        for point in self.points.values():
            for token in self.living():
                for now in (self.now, point.view.reached_at):
                    assert not (point.must_refuse(token) and point.accepts(token, now)), token

    @invariant()
    def what_is_accepted_is_not_revoked_in_the_history_that_the_guard_follows(self) -> None:
        """That history is the one that held the beacon by which the guard calls itself fresh."""
        beacons = {(b.epoch, b.n, b.head, b.at): before for b, before in self.beacons()}
        for point in self.points.values():
            reached = point.view._reached
            if reached is None:
                continue
            before = beacons[reached.epoch, reached.n, reached.head, reached.at]
            for token in self.living():
                if point.accepts(token, self.now):
                    assert not any(n > token.rev and target in token.targets for n, target in before)

    @invariant()
    def what_was_announced_is_not_accepted_either(self) -> None:
        """A guard that heard a beacon of the history that stands refuses all that this history had revoked by then."""
        for point in self.points.values():
            announced = [self.ever[message] for message in self.copies.stream.log if message[0] == BEACON_TYP and message in point.heard]
            for token in self.living():
                if announced and point.accepts(token, self.now):
                    assert not any(n > token.rev and target in token.targets for n, target in announced[-1])

    def living(self) -> list[VerifiedToken]:
        return [token for token in self.tokens.values() if self.now <= token.exp + SKEW_S]

    def beacons(self) -> list[tuple[Beacon, set[tuple[int, str]]]]:
        found = ((opened(*message[:2]), before) for message, before in self.ever.items())
        return [(beacon, before) for beacon, before in found if isinstance(beacon, Beacon)]

    @invariant()
    def who_has_everything_and_is_honest_accepts_what_was_not_revoked(self) -> None:
        """A guard that starts now and hears the stream as it is: never poisoned, and right about every token."""
        fresh = Point()
        for message in self.copies.stream.log:
            fresh.deliver(message)
        assert fresh.view.poisoned is None
        beacons = [message for message in self.copies.stream.log if message[0] == BEACON_TYP]
        if beacons and self.copies.stream.log[-1][0] == BEACON_TYP:
            for token in self.living():
                expected = token.rev <= fresh.view.counter and fresh.view.revoked(token) is None
                assert fresh.accepts(token, fresh.view.reached_at) is expected


TestNoInterleavingAcceptsAfterAcknowledgement = Machine.TestCase
TestNoInterleavingAcceptsAfterAcknowledgement.__doc__ = """INVARIANT: after a point has acknowledged a revocation, no interleaving of kills,
takeovers, losses, duplicates, gaps, reordering and a restored backup makes that point accept what was revoked.

Broken by a view that forgets, that believes a history which went back, or that grows fresh by a beacon it does not match.
"""
TestNoInterleavingAcceptsAfterAcknowledgement.settings = settings(
    max_examples=300, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
