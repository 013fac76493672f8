"""Several writers over one fenced stream, in every order, with acknowledgements lost on the way."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from weft.digest import target_digest
from weft.revocation import RevocationView

from schemas.revocation import ENTRY_TYP, Entry, Target
from tests.support.ledger import KEYS, Copies, cause
from workers.revocation import ledger
from workers.revocation.causes import Cause
from workers.revocation.ports import Deposed, Fenced
from workers.revocation.signing import verify_own
from workers.revocation.writer import Waiting

CAUSES = 4

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
