"""The ledger's rules, as pure functions."""

from __future__ import annotations

import pytest
from weft.digest import sha256, target_digest

from schemas.revocation import GENESIS, Beacon, Entry, Target
from workers.revocation import ledger
from workers.revocation.ledger import BrokenLedger, Head, Stored

TARGET = Target(kind="token", digest=target_digest("token", "j1"))


def entry(n: int, prev: str = GENESIS, epoch: int = 1) -> Entry:
    return Entry(n=n, prev=prev, epoch=epoch, at=1_800_000_000, targets=(TARGET,))


def beacon(n: int, head: str, epoch: int = 1) -> Beacon:
    return Beacon(n=n, head=head, epoch=epoch, at=1_800_000_000.0, facts=0, floor=n + 1)


def test_entries_are_numbered_and_chained() -> None:
    head = ledger.take_over(Head())
    first = ledger.next_entry(head, [TARGET], at=1)
    head = ledger.after_entry(head, "a.b.c", 2)
    second = ledger.next_entry(head, [TARGET], at=1)
    assert (first.n, first.prev, second.n, second.prev) == (1, GENESIS, 2, sha256("a.b.c"))
    assert first.epoch == second.epoch == 1


def test_an_epoch_is_the_sequence_of_the_beacon_that_opens_it() -> None:
    assert ledger.take_over(Head(epoch=4, seq=17)).epoch == 18


def test_a_beacon_says_the_head_and_takes_a_sequence_but_no_number() -> None:
    head = Head(n=3, digest="B" * 43, epoch=9, floor=2, seq=40)
    said = ledger.next_beacon(head, at=5.0, facts=7)
    assert (said.n, said.head, said.epoch, said.floor, said.facts) == (3, "B" * 43, 9, 2, 7)
    assert ledger.after_beacon(head, 41) == Head(n=3, digest="B" * 43, epoch=9, floor=2, seq=41)


@pytest.mark.parametrize("count", [0, ledger.MAX_TARGETS + 1])
def test_an_entry_has_a_target_and_not_too_many(count: int) -> None:
    with pytest.raises(ValueError, match="targets"):
        ledger.next_entry(Head(), [TARGET] * count, at=1)


def test_the_floor_is_the_first_entry_stored_or_the_next_one() -> None:
    assert ledger.with_floor(Head(n=5), 3).floor == 3
    assert ledger.with_floor(Head(n=5), None).floor == 6


def test_a_fresh_stream_begins_at_nothing() -> None:
    assert ledger.recover(Stored(last_seq=0)) == Head(n=0, digest=GENESIS, epoch=0, floor=1, seq=0)


def test_recovery_goes_on_from_the_last_entry() -> None:
    stored = Stored(
        last_seq=9, first_entry=entry(2), last_entry=entry(4, epoch=3), last_entry_jws="a.b.c", last_beacon=beacon(4, sha256("a.b.c"), 8)
    )
    assert ledger.recover(stored) == Head(n=4, digest=sha256("a.b.c"), epoch=8, floor=2, seq=9)


def test_recovery_goes_on_from_a_beacon_when_every_entry_has_aged_away() -> None:
    stored = Stored(last_seq=90, last_beacon=beacon(4, "H" * 43, 8))
    assert ledger.recover(stored) == Head(n=4, digest="H" * 43, epoch=8, floor=5, seq=90)


def test_a_counter_never_goes_back_when_all_has_aged_away() -> None:
    """INVARIANT: a number is never given twice, even when the stream holds nothing any more.

    Broken by starting again at 0: tokens minted at counter 57 would not be hit by entries 1 to 57.
    """
    head = ledger.recover(Stored(last_seq=1000))
    assert head.n == 1000
    assert head.floor == 1001
    assert ledger.take_over(head).epoch == 1001


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (
            Stored(last_seq=9, first_entry=entry(1), last_entry=entry(4), last_entry_jws="a.b.c", last_beacon=beacon(5, "H" * 43)),
            "a later beacon",
        ),
        (
            Stored(last_seq=9, first_entry=entry(1), last_entry=entry(4), last_entry_jws="a.b.c", last_beacon=beacon(4, "H" * 43)),
            "another head",
        ),
        (Stored(last_seq=9, last_entry=entry(4), last_entry_jws="a.b.c"), "no first entry"),
        (Stored(last_seq=9, first_entry=entry(5), last_entry=entry(4), last_entry_jws="a.b.c"), "a first entry after the last"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nobody_writes_on_top_of_a_contradiction(stored: Stored, why: str) -> None:
    """INVARIANT: a stream whose entries and beacons disagree gets no further entry.

    Broken by trusting either side: two receivers would hold two histories under one number.
    """
    with pytest.raises(BrokenLedger):
        ledger.recover(stored)
