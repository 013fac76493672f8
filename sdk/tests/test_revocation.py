"""The revocation view: what it applies, what it refuses, when it may be believed."""

import math

import pytest
from weft.digest import target_digest
from weft.errors import InvalidRevocation, UnknownKey
from weft.revocation import AHEAD_S, KEEP_S, RevocationView
from weft.token import MAX_TTL_S, SKEW_S, verify_token

from tests.support.signed import ADVISOR, INSTANCE, NOW, TokenKey, Writer, beacon_event, claims, entry_event

KEY = TokenKey()
DOC = "spiffe://88mph.com/agents/doc"
PAST = {"sub": DOC, "instance": "i" + "b" * 26, "jti": "j0", "tool": "a", "iat": NOW}


def view_of(writer):
    return RevocationView({writer.kid: writer.public}.get)


def token(**changes):
    return verify_token(KEY.sign(claims(**changes)), {KEY.kid: KEY.public}, issuer=claims()["iss"], audiences=["88mph.com"], now=NOW)


def test_an_empty_view_is_infinitely_old():
    writer = Writer()
    assert view_of(writer).age(NOW) == math.inf


def test_a_beacon_that_matches_makes_it_fresh_and_names_the_head_of_facts():
    writer = Writer()
    view = view_of(writer)
    view.apply(beacon_event(writer.beacon(NOW, facts=17)))
    assert (view.age(NOW + 2), view.facts_head) == (2, 17)


def test_what_is_applied_rests_on_the_posture_that_an_entry_names():
    """INVARIANT: a view never claims to rest on less than the postures its entries stand for.

    Broken by counting beacons alone: whoever mints between entry and beacon would carry the counter and miss the posture.
    """
    writer = Writer()
    view = view_of(writer)
    view.apply(beacon_event(writer.beacon(NOW, facts=17)))
    view.apply_entry(writer.entry(("agent", DOC), posture=23))
    assert (view.facts_head, view.facts_needed) == (17, 23)
    view.apply(beacon_event(writer.beacon(NOW + 1, facts=31)))
    assert view.facts_needed == 31


TARGETS = {
    "token": ("token", "j1"),
    "transaction": ("transaction", "t1"),
    "instance": ("instance", INSTANCE),
    "agent": ("agent", ADVISOR),
    "namespace": ("namespace", "spiffe://88mph.com/agents"),
    "trust domain": ("namespace", "spiffe://88mph.com"),
    "user": ("user", "marty"),
    "key": ("key", KEY.kid),
    "token it descends from": ("token", "j0"),
    "instance that acted before": ("instance", PAST["instance"]),
    "agent that acted before": ("agent", DOC),
}


@pytest.mark.parametrize("name", TARGETS)
def test_what_hits_a_token(name):
    writer = Writer()
    view = view_of(writer)
    view.apply(entry_event(writer.entry(TARGETS[name])))
    assert view.revoked(token(jti="j1", txn="t1", act_chain=[PAST])) == 1


@pytest.mark.parametrize(
    "target", [("token", "j2"), ("namespace", "spiffe://88mph.com/agents/adv"), ("agent", "spiffe://88mph.com/agents"), ("user", "j1")]
)
def test_what_does_not(target):
    writer = Writer()
    view = view_of(writer)
    view.apply_entry(writer.entry(target))
    assert view.revoked(token(jti="j1", txn="t1")) is None


def test_an_entry_hits_what_was_minted_below_it_whatever_its_iat():
    writer = Writer()
    view = view_of(writer)
    view.apply_entry(writer.entry(("user", "biff")))
    view.apply_entry(writer.entry(("user", "marty")))
    assert view.revoked(token(rev=1, iat=NOW + 4)) == 2
    assert view.revoked(token(rev=2, iat=NOW - 4)) is None


def test_a_revoked_key_is_revoked_whatever_counter_a_token_names():
    """INVARIANT: an entry that names a signing key hits all that the key signs.

    Comparing counters would break it: who holds a stolen key writes any counter into a token.
    """
    writer = Writer()
    view = view_of(writer)
    view.apply_entry(writer.entry(("key", KEY.kid)))
    view.apply_entry(writer.entry(("user", "biff")))
    assert view.revoked(token(rev=0)) == view.revoked(token(rev=2)) == 1


def test_a_token_minted_beyond_the_view_says_so():
    writer = Writer()
    view = view_of(writer)
    view.apply_entry(writer.entry(("user", "biff")))
    assert view.behind(token(rev=2))
    assert not view.behind(token(rev=1))


def test_an_early_entry_waits_and_a_late_one_is_ignored():
    writer = Writer()
    view = view_of(writer)
    first, second = writer.entry(("user", "a")), writer.entry(("user", "b"))
    view.apply_entry(second)
    assert view.counter == 0
    view.apply_entry(first)
    view.apply_entry(first)
    assert (view.counter, view.poisoned) == (2, None)


def test_a_beacon_beyond_what_is_applied_makes_nothing_fresh_until_the_hole_is_closed():
    writer = Writer()
    view = view_of(writer)
    entry = writer.entry(("user", "a"))
    view.apply_beacon(writer.beacon(NOW))
    assert view.age(NOW) == math.inf
    view.apply_entry(entry)
    assert view.age(NOW) == 0


def test_a_beacon_of_less_than_is_applied_makes_nothing_fresh():
    writer = Writer()
    view = view_of(writer)
    view.apply_entry(writer.entry(("user", "a")))
    early = writer.beacon(NOW)
    view.apply_entry(writer.entry(("user", "b")))
    view.apply_beacon(early)
    assert (view.age(NOW), view.poisoned) == (math.inf, None)


def test_an_older_beacon_makes_nothing_younger():
    writer = Writer()
    view = view_of(writer)
    old, new = writer.beacon(NOW), writer.beacon(NOW + 1)
    view.apply_beacon(new)
    view.apply_beacon(old)
    assert view.age(NOW + 1) == 0


def test_a_beacon_from_the_future_makes_nothing_fresh():
    writer = Writer()
    view = view_of(writer)
    view.apply_beacon(writer.beacon(NOW + AHEAD_S + 0.5))
    assert view.age(NOW) == math.inf
    assert view.age(NOW + 1) == 0


# --- what has left the stream ----------------------------------------------------------------------------------------------------


def test_a_new_view_starts_at_the_floor():
    writer = Writer()
    entries = [writer.entry(("user", str(n))) for n in range(5)]
    writer.floor = 4
    view = view_of(writer)
    view.apply_entry(entries[3])
    view.apply_entry(entries[4])
    assert view.counter == 0, "nothing proves yet that 1 to 3 are gone"
    view.apply_beacon(writer.beacon(NOW))
    assert (view.counter, view.age(NOW), view.poisoned) == (5, 0, None)
    assert view.revoked(token(sub="3")) == 4


def test_a_view_starts_above_the_last_entry_where_none_is_left():
    writer = Writer()
    for n in range(3):
        writer.entry(("user", str(n)))
    writer.floor = 4
    view = view_of(writer)
    view.apply_beacon(writer.beacon(NOW))
    view.apply_entry(writer.entry(("user", "marty")))
    view.apply_beacon(writer.beacon(NOW + 1))
    assert (view.counter, view.age(NOW + 1), view.revoked(token())) == (4, 0, 4)


def test_a_view_that_was_away_too_long_starts_at_the_floor():
    writer = Writer()
    view = view_of(writer)
    view.apply_entry(writer.entry(("user", "a")))
    for n in range(3):
        writer.entry(("user", str(n)))
    last = writer.entry(("user", "marty"))
    writer.floor = 5
    view.apply_entry(last)
    view.apply_beacon(writer.beacon(NOW))
    assert (view.counter, view.age(NOW)) == (5, 0)


def test_the_floor_alone_is_not_enough_without_the_entry_that_stands_on_it():
    writer = Writer()
    for n in range(4):
        writer.entry(("user", str(n)))
    writer.floor = 3
    view = view_of(writer)
    view.apply_beacon(writer.beacon(NOW))
    assert (view.counter, view.age(NOW)) == (0, math.inf)


def test_an_entry_counts_as_long_as_any_token_that_it_hits_lives():
    """INVARIANT: what is dropped from a view can hit no live token any more.

    A retention shorter than the longest token and its skew would break it.
    """
    writer = Writer()
    view = view_of(writer)
    view.apply_entry(writer.entry(("user", "marty")))
    view.apply_beacon(writer.beacon(NOW + MAX_TTL_S + SKEW_S))
    assert view.revoked(token(exp=NOW + MAX_TTL_S)) == 1


def test_entries_that_no_token_can_outlive_are_dropped():
    writer = Writer()
    view = view_of(writer)
    view.apply_entry(writer.entry(("user", "marty"), at=NOW))
    view.apply_entry(writer.entry(("user", "biff"), at=NOW + 100))
    view.apply_beacon(writer.beacon(NOW + KEEP_S + 1))
    assert (len(view._hit), view.counter) == (1, 2)
    view.apply_beacon(writer.beacon(NOW + KEEP_S + 101))
    assert (len(view._hit), len(view._hashes), len(view._kept)) == (0, 0, 0)


# --- what is refused -------------------------------------------------------------------------------------------------------------


def test_another_key_with_the_same_kid():
    writer, forger = Writer(), Writer()
    view = view_of(writer)
    with pytest.raises(InvalidRevocation):
        view.apply_entry(forger.entry(("user", "marty")))
    with pytest.raises(InvalidRevocation):
        view.apply_beacon(forger.beacon())
    assert (view.counter, view.age(NOW)) == (0, math.inf)


def test_an_unknown_key_may_become_known():
    writer = Writer()
    keys = {}
    view = RevocationView(keys.get)
    entry = writer.entry(("user", "marty"))
    with pytest.raises(UnknownKey):
        view.apply_entry(entry)
    keys[writer.kid] = writer.public
    view.apply_entry(entry)
    assert view.counter == 1


def test_a_typ_counts_for_its_purpose_alone():
    writer = Writer()
    view = view_of(writer)
    with pytest.raises(InvalidRevocation):
        view.apply_entry(writer.beacon())
    with pytest.raises(InvalidRevocation):
        view.apply_beacon(writer.entry(("user", "marty")))
    with pytest.raises(InvalidRevocation):
        view.apply_entry(writer.sign({"n": 1}, "JWT"))


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"n": "1", "prev": "A" * 43, "epoch": 1, "at": NOW, "targets": [{"digest": "x"}]},
        {"n": 0, "prev": "A" * 43, "epoch": 1, "at": NOW, "targets": [{"digest": "x"}]},
        {"n": 1, "prev": "A" * 43, "epoch": 1, "at": NOW, "targets": []},
        {"n": 1, "prev": "A" * 43, "epoch": 1, "at": NOW, "targets": [7]},
        {"n": 1, "prev": "A" * 43, "epoch": 1, "at": NOW, "targets": 7},
        {"n": True, "prev": "A" * 43, "epoch": 1, "at": NOW, "targets": [{"digest": "x"}]},
    ],
)
def test_a_signed_entry_of_another_shape(payload):
    writer = Writer()
    view = view_of(writer)
    with pytest.raises(InvalidRevocation):
        view.apply_entry(writer.sign(payload, "weft-revocation+jwt"))


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"\xff", b'{"specversion":"1.0","id":"a","source":"b","type":"c","data":{"jws":"x.y.z"}}']
)
def test_messages_that_are_none(body):
    with pytest.raises(InvalidRevocation):
        view_of(Writer()).apply(body)


# --- what poisons it ---------------------------------------------------------------------------------------------------------------


def poisoned(view):
    return view.poisoned is not None and view.age(NOW) == math.inf


def two_entries(view, writer, key):
    other = Writer(key=key)
    view.apply_entry(writer.entry(("user", "a")))
    view.apply_entry(other.entry(("user", "b")))


def two_early_entries(view, writer, key):
    other = Writer(key=key)
    writer.entry(("user", "a")), other.entry(("user", "a"), at=1)
    view.apply_entry(writer.entry(("user", "a")))
    view.apply_entry(other.entry(("user", "b")))


def broken_chain(view, writer, key):
    view.apply_entry(writer.entry(("user", "a")))
    view.apply_entry(writer.entry(("user", "b"), prev="B" * 43))


def another_head(view, writer, key):
    view.apply_entry(writer.entry(("user", "a")))
    view.apply_beacon(writer.beacon(NOW, head="B" * 43))


def two_heads(view, writer, key):
    writer.entry(("user", "a"))
    view.apply_beacon(writer.beacon(NOW))
    view.apply_beacon(writer.beacon(NOW - 1, head="B" * 43))


def lower_epoch_in_the_chain(view, writer, key):
    writer.epoch = 2
    view.apply_entry(writer.entry(("user", "a")))
    writer.epoch = 1
    view.apply_entry(writer.entry(("user", "b")))


def history_that_went_back(view, writer, key):
    for n in range(3):
        view.apply_entry(writer.entry(("user", str(n))))
    view.apply_beacon(writer.beacon(NOW))
    restored = Writer(key=key)
    restored.epoch = 2
    view.apply_beacon(restored.beacon(NOW + 1))


def history_that_lost_its_end(view, writer, key):
    view.apply_entry(writer.entry(("user", "a")))
    restored = Writer(key=key)
    restored.n, restored.head, restored.epoch = writer.n, writer.head, 2
    view.apply_entry(writer.entry(("user", "b")))
    view.apply_beacon(restored.beacon(NOW))


@pytest.mark.parametrize(
    "happens",
    [
        history_that_lost_its_end,
        two_entries,
        two_early_entries,
        broken_chain,
        another_head,
        two_heads,
        lower_epoch_in_the_chain,
        history_that_went_back,
    ],
)
def test_equivocation_poisons_the_view_for_good(happens):
    """INVARIANT: a writer's key that tells two stories is believed in neither, for as long as the process lives.

    A view that keeps the first story, or takes the second, would break it: whoever restored a backup or runs a second writer would
    bring back what was revoked.
    """
    writer = Writer()
    key = writer._key
    view = view_of(writer)
    happens(view, writer, key)
    assert poisoned(view)
    honest = Writer(key=key)
    honest.epoch = 9
    view.apply_beacon(honest.beacon(NOW + 5))
    assert poisoned(view)


def test_a_superseded_writer_is_not_heard():
    writer = Writer()
    view = view_of(writer)
    view.apply_entry(writer.entry(("user", "a")))
    writer.epoch = 2
    view.apply_beacon(writer.beacon(NOW))
    stale = Writer(key=writer._key)
    stale.n, stale.head = writer.n, writer.head
    with pytest.raises(InvalidRevocation):
        view.apply_beacon(stale.beacon(NOW + 1))
    with pytest.raises(InvalidRevocation):
        view.apply_entry(stale.entry(("user", "b")))
    assert (view.counter, view.age(NOW), view.poisoned) == (1, 0, None)


def test_targets_are_looked_up_by_digest_alone():
    assert target_digest("user", "marty") in token().targets
    assert len(set(token().targets)) == len(token().targets) == 9
