"""Snapshots of the revocation view: what is signed, what is read, and how it joins the chain."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weft.digest import target_digest
from weft.errors import InvalidRevocation, UnknownKey
from weft.revocation import KEEP_S, RevocationView
from weft.snapshot import ROW, ROWS_A_CHUNK, TYP, Row, manifest_claims, pack, read_manifest, read_rows

from tests.support.signed import NOW, Writer


def chained(writer: Writer, *jtis: str, at: int = NOW) -> RevocationView:
    """A view that verified every entry."""
    view = RevocationView({writer.kid: writer.public}.get)
    for jti in jtis:
        view.apply_entry(writer.entry(("token", jti), ("user", f"u{len(jti)}"), at=at))
    view.apply_beacon(writer.beacon(at))
    return view


def signed(writer: Writer, view: RevocationView, typ: str = TYP, **changes: object) -> tuple[str, list[bytes]]:
    chunks = pack(view.rows())
    claims = manifest_claims(chunks, n=view.counter, head=view.head, epoch=view.epoch, seq=view.counter, posture=view.posture)
    return writer.sign(claims | changes, typ), chunks


def loaded(writer: Writer, view: RevocationView) -> RevocationView:
    manifest, chunks = signed(writer, view)
    key_of = {writer.kid: writer.public}.get
    read = read_manifest(manifest, key_of)
    made = RevocationView(key_of)
    made.load(read, read_rows(read, chunks))
    return made


def test_what_is_loaded_is_what_was_verified_and_becomes_current_by_a_beacon() -> None:
    writer = Writer()
    view = loaded(writer, chained(writer, "a", "b", "a"))
    assert (view.counter, view.head) == (3, writer.head)
    assert view.age(NOW) == float("inf")  # a snapshot makes nothing fresh
    view.apply_beacon(writer.beacon(NOW))
    assert view.age(NOW) == 0
    assert view.hit([target_digest("token", "a")], 2) == 3
    assert view.hit([target_digest("token", "a")], 3) is None
    assert view.hit([target_digest("token", "b")], 1) == 2
    view.apply_entry(writer.entry(("token", "c")))
    assert (view.counter, view.poisoned) == (4, None)


@given(
    st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12),
    st.lists(st.sampled_from(["a", "b", "e"]), max_size=4),
    st.integers(0, 900),
)
@settings(max_examples=60, deadline=None)
def test_a_loaded_view_answers_as_the_chain_does(before: list[str], after: list[str], later: int) -> None:
    """INVARIANT: a guard that started from a snapshot refuses exactly what one that verified every entry refuses, now and later.

    Broken by a row that is left out, by the number of an earlier entry, or by forgetting before a token that it hits is dead.
    """
    writer = Writer()
    ours = chained(writer, *before)
    theirs = loaded(writer, ours)
    for jti in after:
        entry = writer.entry(("token", jti), at=NOW + 5)
        ours.apply_entry(entry)
        theirs.apply_entry(entry)
    beacon = writer.beacon(NOW + later)
    ours.apply_beacon(beacon)
    theirs.apply_beacon(beacon)
    assert theirs.poisoned is None
    assert (theirs.counter, theirs.head, theirs.age(NOW + later)) == (ours.counter, ours.head, 0)
    for jti in "abcde":
        for rev in range(ours.counter + 1):
            assert theirs.hit([target_digest("token", jti)], rev) == ours.hit([target_digest("token", jti)], rev)


def test_what_is_old_is_forgotten_as_in_a_chain() -> None:
    writer = Writer()
    view = loaded(writer, chained(writer, "a"))
    view.apply_beacon(writer.beacon(NOW + KEEP_S + 1))
    assert view.hit([target_digest("token", "a")], 0) is None
    assert view.rows() == []


def test_a_snapshot_of_another_history_poisons() -> None:
    """INVARIANT: a snapshot has to join: the next entry names its hash and a beacon of its number carries it, or nothing is accepted.

    Broken by starting from whatever a snapshot says.
    """
    writer, other = Writer(), Writer()
    for _ in range(2):
        other.entry(("token", "x"))
    by_entry, by_beacon = (loaded(writer, chained(Writer(writer.kid, writer._key), "a", "b")) for _ in range(2))
    for jti in ("a", "z"):  # the history that stands has another second entry
        writer.entry(("token", jti))
    by_beacon.apply_beacon(writer.beacon(NOW))
    by_entry.apply_entry(writer.entry(("token", "c")))
    assert by_beacon.poisoned
    assert by_entry.poisoned


def test_a_view_that_has_begun_takes_none() -> None:
    writer = Writer()
    view = chained(writer, "a")
    manifest, chunks = signed(writer, view)
    read = read_manifest(manifest, {writer.kid: writer.public}.get)
    with pytest.raises(InvalidRevocation):
        view.load(read, read_rows(read, chunks))


@pytest.mark.parametrize("wrong", ["key", "unknown", "typ", "signature", "garbage", "chunks", "number"])
def test_a_manifest_that_the_writer_did_not_sign_is_refused(wrong: str) -> None:
    """INVARIANT: a snapshot counts by the revocation key's signature under its own type.

    Broken by taking one signed by another key, or an entry or beacon for one.
    """
    writer, other = Writer(), Writer()
    view = chained(writer, "a")
    manifest, _ = signed(writer, view)
    unverified = {
        "key": signed(other, view)[0],
        "unknown": manifest,
        "typ": signed(writer, view, "weft-revocation+jwt")[0],
        "signature": manifest[:-6] + "AAAAAA",
        "garbage": "a.b.c",
        "chunks": signed(writer, view, chunks="x")[0],
        "number": signed(writer, view, n=-1)[0],
    }[wrong]
    with pytest.raises(InvalidRevocation) as refused:
        read_manifest(unverified, {}.get if wrong == "unknown" else {writer.kid: writer.public}.get)
    assert isinstance(refused.value, UnknownKey) is (wrong == "unknown")


def test_a_chunk_is_the_one_that_was_signed() -> None:
    """INVARIANT: no row can be taken out, changed or added on the way."""
    writer = Writer()
    view = chained(writer, "a", "b")
    manifest, chunks = signed(writer, view)
    read = read_manifest(manifest, {writer.kid: writer.public}.get)
    assert {row.target for row in read_rows(read, chunks)} >= {target_digest("token", "a"), target_digest("token", "b")}
    more = ROW.pack(b"x" * 16, 1, NOW, 0)
    for wrong in ([], [chunks[0][ROW.size :]], [chunks[0] + more], [*chunks, more], [b"x" + chunks[0][1:]]):
        with pytest.raises(InvalidRevocation):
            read_rows(read, wrong)


def test_a_row_beyond_the_manifest_is_refused() -> None:
    writer = Writer()
    chunks = pack([Row(target_digest("token", "a"), 9, NOW, is_key=False)])
    claims = manifest_claims(chunks, n=3, head="A" * 43, epoch=1, seq=3, posture=0)
    read = read_manifest(writer.sign(claims, TYP), {writer.kid: writer.public}.get)
    with pytest.raises(InvalidRevocation):
        read_rows(read, chunks)


def test_chunks_are_small_enough_for_a_message() -> None:
    rows = [Row(target_digest("token", str(number)), number + 1, NOW, is_key=bool(number % 2)) for number in range(ROWS_A_CHUNK + 1)]
    chunks = pack(rows)
    assert [len(chunk) // ROW.size for chunk in chunks] == [ROWS_A_CHUNK, 1]
    assert len(chunks[0]) * 4 / 3 < 200_000
    assert len(json.dumps(manifest_claims(chunks, n=1, head="A" * 43, epoch=1, seq=1, posture=0))) < 1000
