"""Several writers over one fenced stream, in every order, with acknowledgements lost on the way.

The stream here is a small honest one: it judges the expected sequence before the message id, as nats-server 2.15.1 does (measured), and
what it stores it never forgets.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from weft.digest import b64u, canonical, target_digest
from weft.revocation import RevocationView

from schemas.base import Wire
from schemas.revocation import BEACON_TYP, ENTRY_TYP, Beacon, Entry, Target
from workers.revocation import ledger
from workers.revocation.causes import Cause, Committed
from workers.revocation.completion import Tracker
from workers.revocation.ledger import BrokenLedger, Stored
from workers.revocation.ports import Deposed, Fenced, Uncertain
from workers.revocation.signing import verify_own
from workers.revocation.writer import Waiting, Writer

KEY = SigningKey(b"k" * 32)
KEYS = {"k1": bytes(KEY.verify_key)}
CAUSES = 4


class Signer:
    def sign(self, payload: Wire, typ: str) -> str:
        text = f"{b64u(canonical({'alg': 'EdDSA', 'typ': typ, 'kid': 'k1'}))}.{b64u(payload.wire())}"
        return f"{text}.{b64u(KEY.sign(text.encode()).signature)}"


@dataclass
class Stream:
    """REVOCATIONS, in memory.  `fault` is what happens to the next publish: its request or its answer is lost."""

    log: list[tuple[str, str, str]] = field(default_factory=list)  # typ, JWS, message id
    fault: str = "none"

    async def read(self) -> Stored:
        entries = [(verify_own(jws, typ, Entry, KEYS), jws) for typ, jws, _ in self.log if typ == ENTRY_TYP]
        beacons = [verify_own(jws, typ, Beacon, KEYS) for typ, jws, _ in self.log if typ == BEACON_TYP]
        return Stored(
            last_seq=len(self.log),
            first_entry=entries[0][0] if entries else None,
            last_entry=entries[-1][0] if entries else None,
            last_entry_jws=entries[-1][1] if entries else None,
            last_beacon=beacons[-1] if beacons else None,
        )

    async def first_entry(self) -> int | None:
        return next((1 for typ, _, _ in self.log if typ == ENTRY_TYP), None)

    async def entry_at(self, seq: int) -> tuple[Entry, str]:
        typ, jws, _ = self.log[seq - 1]
        if typ != ENTRY_TYP:
            raise BrokenLedger("no entry there")
        return verify_own(jws, typ, Entry, KEYS), jws

    async def put_entry(self, jws: str, *, n: int, msg_id: str, after: int) -> tuple[int, bool]:
        return self._put(ENTRY_TYP, jws, msg_id, after)

    async def put_beacon(self, jws: str, *, msg_id: str, after: int) -> int:
        return self._put(BEACON_TYP, jws, msg_id, after)[0]

    def _put(self, typ: str, jws: str, msg_id: str, after: int) -> tuple[int, bool]:
        fault, self.fault = self.fault, "none"
        if fault == "request":
            raise Uncertain
        if after != len(self.log):
            raise Fenced
        known = [seq for seq, (_, _, stored_id) in enumerate(self.log, 1) if stored_id == msg_id]
        if not known:
            self.log.append((typ, jws, msg_id))
        if fault == "answer":
            raise Uncertain
        return (known[0], True) if known else (len(self.log), False)


class Wall:
    def now(self) -> float:
        return 1_800_000_000.0


def cause(number: int) -> Cause:
    target = Target(kind="token", digest=target_digest("token", str(number)))
    return Cause(key=f"posture:{number}", targets=(target,), names=(f"token:{number}",), reason="r", by="b", posture=number + 1)


async def head_of_facts() -> int:
    return 0


class Copies:
    """Three copies of the worker; each writes for as long as it believes that it may."""

    def __init__(self) -> None:
        self.stream = Stream()
        self.writers: dict[int, Writer | None] = dict.fromkeys(range(3))
        self.told: dict[int, list[Committed]] = {}

    async def take_over(self, copy: int) -> None:
        tracker = Tracker(lambda _: 3.0)
        head = ledger.recover(await self.stream.read())
        writer = Writer(head, stream=self.stream, signer=Signer(), tracker=tracker, clock=Wall(), facts_head=head_of_facts)
        try:
            await writer.take_over()
            self.writers[copy] = writer
        except (Fenced, Uncertain):
            self.writers[copy] = None

    async def beacon(self, copy: int) -> None:
        await self._write(copy, None)

    async def commit(self, copy: int, number: int) -> None:
        await self._write(copy, number)

    async def _write(self, copy: int, number: int | None) -> None:
        writer = self.writers[copy]
        if writer is None:
            return
        try:
            if number is None:
                await writer.take_over()  # which is a beacon
            else:
                waiting = Waiting(cause(number), asyncio.get_running_loop().create_future())
                writer._pending.append(waiting)
                await writer._entry()
                self.told.setdefault(number, []).append(waiting.done.result())
        except (Fenced, Uncertain):
            writer._end()
            self.writers[copy] = None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take_over", "beacon", "commit", "commit"]),
        st.integers(0, 2),
        st.integers(0, CAUSES - 1),
        st.sampled_from(["none", "none", "request", "answer"]),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_whoever_writes_there_is_one_history_and_one_entry_for_each_cause(steps: list[tuple[str, int, int, str]]) -> None:
    """INVARIANT: several copies that all believe they write make one chain, and one entry for each cause, whatever is lost on the way.

    Broken by leaving the expected sequence off a publish, by taking a lost answer for a refusal, or by going on from a head that was not
    read from the stream.
    """

    async def play() -> Copies:
        copies = Copies()
        for what, copy, number, fault in steps:
            copies.stream.fault = fault
            if what == "commit":
                await copies.commit(copy, number)
            else:
                await getattr(copies, what)(copy)
        return copies

    copies = asyncio.run(play())
    view = RevocationView(KEYS.get)
    for typ, jws, _ in copies.stream.log:
        (view.apply_entry if typ == ENTRY_TYP else view.apply_beacon)(jws)
    entries = [verify_own(jws, typ, Entry, KEYS) for typ, jws, _ in copies.stream.log if typ == ENTRY_TYP]
    assert view.poisoned is None
    assert view.counter == len(entries)
    assert len({entry.posture for entry in entries}) == len(entries)
    number_of = {entry.posture: entry.n for entry in entries}
    for number, told in copies.told.items():
        assert {committed.n for committed in told} == {number_of[number + 1]}


async def test_completed_transactions_share_an_entry_and_keyed_causes_do_not() -> None:
    copies = Copies()
    await copies.take_over(0)
    writer = copies.writers[0]
    assert writer is not None
    unkeyed = [
        Cause(key=None, targets=(Target(kind="token", digest=target_digest("token", f"u{i}")),), names=("x",), reason="r", by="b")
        for i in range(200)
    ]
    loop = asyncio.get_running_loop()
    waiting = [Waiting(one, loop.create_future()) for one in [*unkeyed[:3], cause(0), *unkeyed[3:]]]
    writer._pending.extend(waiting)
    while writer._pending:
        await writer._entry()
    found = [verify_own(jws, typ, Entry, KEYS) for typ, jws, _ in copies.stream.log if typ == ENTRY_TYP]
    assert [len(entry.targets) for entry in found] == [3, 1, ledger.MAX_TARGETS, 200 - 3 - ledger.MAX_TARGETS]
    assert [w.done.result().n for w in waiting[:5]] == [1, 1, 1, 2, 3]


async def test_who_waits_for_a_writer_that_ends_hears_of_it() -> None:
    copies = Copies()
    await copies.take_over(0)
    old = copies.writers[0]
    assert old is not None
    await copies.take_over(1)
    running = asyncio.create_task(old.run())
    outcome = await asyncio.gather(old.commit(cause(1)), return_exceptions=True)
    assert isinstance(outcome[0], Deposed)
    assert isinstance((await asyncio.gather(running, return_exceptions=True))[0], Fenced)
