"""What a drill makes of verdicts: a table."""

from __future__ import annotations

import pytest

from schemas.drills import Verdict
from schemas.reasons import GuardReason
from workers.revocation.drilling import Drill

P, Q = "p", "q"
TOOL = "payments"


def verdict(accepted: bool, reason: GuardReason | None = None, drill: str = "d1", tool: str = TOOL) -> Verdict:
    return Verdict(drill=drill, tool=tool, accepted=accepted, reason=reason, n=1, at=1.0)


YES, REVOKED, STALE = verdict(True), verdict(False, GuardReason.REVOKED), verdict(False, GuardReason.VIEW_STALE)


def played(before: list[Verdict], after: list[Verdict]) -> Drill:
    drill = Drill("d1", "doc", 1, frozenset({(P, TOOL)}))
    for said in before:
        drill.say(P, said, 10.0)
    drill.revoked(7, 10.0)
    for said in after:
        drill.say(P, said, 10.005)
    return drill


@pytest.mark.parametrize(
    ("before", "after", "state", "proven"),
    [
        ([YES], [REVOKED], "refused", {P: True}),
        ([YES], [STALE], "refused", {P: True}),
        ([YES], [REVOKED, YES], "accepted", {P: False}),
        ([YES], [YES, REVOKED], "refused", {P: True}),
        ([YES], [YES], "accepted", {P: False}),
        ([YES], [], "silent", {}),
        ([], [], "silent", {}),
        ([], [REVOKED], "not_armed", {}),
        ([STALE], [REVOKED], "not_armed", {}),
        ([STALE, YES], [REVOKED], "refused", {P: True}),
    ],
    ids=[
        "refused",
        "refused by staleness",
        "accepted again",
        "late",
        "accepted",
        "silent after",
        "silent",
        "came late",
        "stale",
        "then armed",
    ],
)
def test_how_a_point_ends(before: list[Verdict], after: list[Verdict], state: str, proven: dict[str, bool]) -> None:
    """INVARIANT: a point is proven by accepting the canary first and refusing it last, and by nothing less.

    Broken by counting a guard that never accepted (it would refuse anything), or by its first word instead of its last.
    """
    drill = played(before, after)
    (point,) = drill.report().points
    assert point.state == state
    assert drill.verdicts() == proven
    assert drill.report().passed is (state == "refused")


def test_the_time_is_from_commit_to_the_refusal_for_the_revocation() -> None:
    assert played([YES], [REVOKED]).report().points[0].ms == 5.0
    assert played([YES], [STALE]).report().points[0].ms is None


def test_nobody_speaks_for_another_drill_or_for_who_was_not_asked() -> None:
    drill = Drill("d1", "doc", 1, frozenset({(P, TOOL)}))
    assert not drill.say(P, verdict(True, drill="d2"), 1.0)
    assert not drill.say(Q, YES, 1.0)
    assert not drill.say(P, verdict(True, tool="fraud"), 1.0)
    assert drill.say(P, YES, 1.0)


def test_a_drill_of_nobody_proves_nothing() -> None:
    drill = Drill("d1", "doc", 1, frozenset())
    assert not drill.report().passed


def test_a_point_that_fails_for_one_tool_fails() -> None:
    drill = Drill("d1", "doc", 1, frozenset({(P, TOOL), (P, "fraud")}))
    for tool in (TOOL, "fraud"):
        drill.say(P, verdict(True, tool=tool), 1.0)
    drill.revoked(1, 1.0)
    drill.say(P, REVOKED, 1.1)
    assert drill.unrefused() == {"fraud"}
    drill.say(P, verdict(True, tool="fraud"), 1.1)
    assert drill.verdicts() == {P: False}
