"""What waits for something of its sender's, and how much of it may."""

from __future__ import annotations

from workers.signals.held import Held


def test_one_sender_takes_no_more_than_its_places() -> None:
    held = Held(2)
    assert [held.may_wait("a", seq) for seq in (1, 2, 3, 1)] == [True, True, False, True]
    assert held.may_wait("b", 3)
    held.settled(1)
    assert held.may_wait("a", 4)
