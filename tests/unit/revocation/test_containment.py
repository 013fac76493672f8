"""Which facts about points are due: a table."""

from __future__ import annotations

import pytest

from schemas.facts import Point
from workers.revocation.completion import Late, Tracker
from workers.revocation.containment import WATCH_S, Due, due

NAME = f"i{'c4' * 13}.88mph~com.tools.payments"


def fact(n: int = 1, why: str = "not_applied") -> Point:
    return Point(name=NAME, workload="spiffe://88mph.com/tools/payments", n=n, why=why, since=1)  # type: ignore[arg-type]


def tracker(*, heard: int | None = None, late: Late | None = None, proven: bool = False) -> Tracker:
    made = Tracker(lambda _: 3.0)
    made.known(100)
    if heard is not None:
        made.heard(NAME, heard, 1, 1.0)
    if late is not None:
        made.late[NAME] = late
    if proven:
        made.refused(NAME)
    return made


LATE = Late(3, 1, 1.0)


@pytest.mark.parametrize(
    ("standing", "known", "watched_s", "expected"),
    [
        ({}, tracker(heard=0), 1, ()),
        ({}, tracker(heard=0, late=LATE), 1, (Due(NAME, LATE),)),
        ({NAME: fact(3)}, tracker(heard=0, late=LATE), 1, ()),
        ({NAME: fact(2)}, tracker(heard=0, late=LATE), 1, (Due(NAME, LATE),)),
        ({NAME: None}, tracker(heard=0, late=LATE), 1, (Due(NAME, LATE),)),
        ({NAME: fact(3)}, tracker(heard=3), 1, (Due(NAME, None, "answered"),)),
        ({NAME: fact(3)}, tracker(heard=2), WATCH_S + 1, ()),
        ({NAME: fact(3)}, tracker(), 1, ()),
        ({NAME: fact(3)}, tracker(), WATCH_S + 1, (Due(NAME, None, "silent"),)),
        ({NAME: fact(3, "accepted")}, tracker(heard=9), WATCH_S + 1, ()),
        ({NAME: fact(3, "accepted")}, tracker(heard=9, proven=True), 1, (Due(NAME, None, "answered"),)),
        ({NAME: fact(3, "accepted")}, tracker(), WATCH_S + 1, (Due(NAME, None, "silent"),)),
    ],
    ids=[
        "nothing is due",
        "a late point",
        "it stands already",
        "it is later than stands",
        "what stands cannot be read",
        "it has answered",
        "it speaks and has not",
        "a copy that has just started clears nobody",
        "silent for longer than any budget",
        "its word clears no drill",
        "a drill does",
        "and so does silence",
    ],
)
def test_what_is_due(standing: dict[str, Point | None], known: Tracker, watched_s: float, expected: tuple[Due, ...]) -> None:
    assert due(standing, known, watched_s) == expected
