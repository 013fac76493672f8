"""How an entry ends, point by point."""

from __future__ import annotations

from workers.revocation.completion import GRACE_S, KEPT_S, LISTED, LIVE_S, Tracker, percentile


def tracker(*points: str, budget: float = 3.0) -> Tracker:
    made = Tracker(lambda _: budget)
    for point in points:
        made.heard(point, 0, 0, 0.0)
    return made


def states(made: Tracker) -> dict[str, str]:
    (completed,) = made.outcomes()
    return {outcome.point: outcome.state for outcome in completed.points}


def test_an_entry_without_live_points_is_contained_at_once() -> None:
    made = tracker()
    made.begin(1, 1, 0.0)
    made.committed(1, 0.1)
    (completed,) = made.outcomes()
    assert completed.contained
    assert completed.points == ()
    assert completed.p50_ms is None


def test_every_live_point_confirms_with_its_time() -> None:
    made = tracker("a", "b")
    made.begin(1, 1, 1.0)
    made.committed(1, 1.0)
    made.heard("a", 1, 1, 1.002)
    assert made.outcomes() == []
    made.heard("b", 1, 1, 1.010)
    (completed,) = made.outcomes()
    assert completed.contained
    assert (completed.p50_ms, completed.p99_ms, completed.last_ms) == (2.0, 10.0, 10.0)


def test_an_acknowledgement_may_be_faster_than_the_streams_own() -> None:
    made = tracker("a")
    made.begin(1, 1, 1.0)
    assert made.heard("a", 1, 1, 1.001)
    made.committed(1, 1.002)
    assert states(made) == {"a": "confirmed"}


def test_silence_past_the_budget_is_expired_and_speech_is_uncontained() -> None:
    """INVARIANT: a point that still speaks past its budget without having applied the entry is an alarm.

    Broken by counting whatever is not confirmed as expired: a guard that serves with a stuck view would go unnoticed.
    """
    made = tracker("silent", "stuck")
    made.begin(1, 1, 1.0)
    made.committed(1, 1.0)
    made.heard("stuck", 0, 1, 4.5)
    made.tick(1.0 + 3.0 + GRACE_S)
    assert states(made) == {"silent": "expired", "stuck": "uncontained"}
    assert not made.outcomes()[0].contained


def test_nothing_is_believed_beyond_what_was_published() -> None:
    """INVARIANT: a point cannot acknowledge what does not exist yet.

    Broken by taking the highest number a point names: one acknowledgement of a huge number would confirm every later entry.
    """
    made = tracker("liar")
    assert not made.heard("liar", 10**9, 1, 0.5)
    made.begin(1, 1, 1.0)
    made.committed(1, 1.0)
    assert made.outcomes() == []


def test_an_older_epoch_confirms_nothing() -> None:
    made = tracker("a")
    made.begin(1, 7, 1.0)
    made.committed(1, 1.0)
    made.heard("a", 1, 6, 1.1)
    assert made.outcomes() == []
    made.heard("a", 1, 7, 1.2)
    assert states(made) == {"a": "confirmed"}


def test_an_abandoned_number_can_be_begun_again_and_a_finished_one_cannot() -> None:
    made = tracker("a")
    made.begin(1, 1, 1.0)
    made.abandon(1)
    made.begin(1, 2, 1.5)
    made.committed(1, 1.5)
    made.heard("a", 1, 2, 1.6)
    made.recorded(1)
    made.begin(1, 2, 1.7)  # our own entry comes back republished
    made.committed(1, 1.7)
    assert made.outcomes() == []


def test_a_point_long_silent_is_not_waited_for() -> None:
    made = tracker("gone")
    made.begin(1, 1, LIVE_S + 1)
    made.committed(1, LIVE_S + 1)
    (completed,) = made.outcomes()
    assert completed.points == ()


def test_outcomes_are_kept_for_the_copy_that_takes_over_and_then_forgotten() -> None:
    made = tracker()
    made.begin(1, 1, 0.0)
    made.committed(1, 0.0)
    made.tick(KEPT_S - 1)
    assert len(made.outcomes()) == 1
    made.tick(KEPT_S + 1)
    assert made.outcomes() == []


def test_an_outcome_is_ready_once_its_last_point_has_answered() -> None:
    made = tracker("a", "b")
    made.begin(1, 1, 1.0)
    made.committed(1, 1.0)
    made.heard("a", 1, 1, 1.1)
    assert not made.ready
    made.heard("b", 1, 1, 1.2)
    assert made.ready
    made.recorded(1)
    assert not made.ready


def test_a_record_names_those_that_did_not_confirm_first_and_fits_a_message() -> None:
    made = tracker(*(f"p{i}" for i in range(LISTED + 20)), "stuck")
    made.begin(1, 1, 1.0)
    made.committed(1, 1.0)
    for i in range(LISTED + 20):
        made.heard(f"p{i}", 1, 1, 1.001)
    made.heard("stuck", 0, 1, 4.5)
    made.tick(9.0)
    (completed,) = made.outcomes()
    assert completed.points[0].point == "stuck"
    assert (len(completed.points), completed.omitted) == (LISTED, 21)


def test_percentiles_are_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([4.0], 0.99), percentile([], 0.5)) == (50.0, 99.0, 4.0, None)


def test_a_point_is_waited_for_as_long_as_it_may_still_accept() -> None:
    """INVARIANT: a silent point counts as gone only once its own budget has run out as well.

    Broken by one silence for all: a read-only tool's guard believes its view for 30 s, and would be called contained after 15.
    """
    made = tracker("slow", budget=30.0)
    made.begin(1, 1, LIVE_S + 1)
    made.committed(1, LIVE_S + 1)
    assert made.outcomes() == []
    made.tick(LIVE_S + 1 + 30.0 + GRACE_S)
    assert states(made) == {"slow": "expired"}


def test_a_late_point_stays_late_until_it_has_applied_what_it_missed() -> None:
    made = tracker("stuck")
    made.begin(1, 7, 1.0)
    made.committed(1, 1.0)
    made.heard("stuck", 0, 7, 4.5)
    made.tick(1.0 + 3.0 + GRACE_S)
    assert (made.late["stuck"].n, made.late["stuck"].why) == (1, "not_applied")
    made.heard("stuck", 1, 6, 8.0)  # of a history that was superseded
    assert "stuck" in made.late
    made.heard("stuck", 1, 7, 8.1)
    assert made.late == {}


def test_a_late_point_that_falls_silent_refuses_by_itself() -> None:
    made = tracker("stuck")
    made.begin(1, 1, 1.0)
    made.committed(1, 1.0)
    made.heard("stuck", 0, 1, 4.5)
    made.tick(8.0)
    assert "stuck" in made.late
    made.tick(4.5 + LIVE_S + 0.1)
    assert made.late == {}


def test_what_a_drill_saw_only_a_drill_clears() -> None:
    """INVARIANT: a point that accepted what was revoked is late whatever it acknowledges.

    Broken by believing its next acknowledgement: it is the word of the very part that was caught.
    """
    made = tracker("liar")
    made.known(5)
    made.accepted("liar", 5, 1, 1.0)
    made.heard("liar", 5, 1, 1.1)
    assert {name: late.why for name, late in made.late.items()} == {"liar": "accepted"}
    made.refused("liar")
    assert made.late == {}
    assert made.proven == {"liar"}
