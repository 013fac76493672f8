"""The SETs we sign, the credentials we seal, and what we say of ourselves."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest

from config.settings import Settings, SettingsError, parse
from schemas.events import caep
from schemas.facts import EventStream, PollDelivery
from schemas.ssf import well_known_path
from schemas.subject_ids import parse_subject
from streams.keys import load_or_create, seal_key
from workers.signals.transmitter.configuration import Transmitter
from workers.signals.transmitter.sealing import SealBroken, Sealer
from workers.signals.transmitter.sets import Happening, Signatures, queued, stream_updated, verification

ISSUER = "https://tx.example/t1"
NOW = 1_800_000_000.9


def stream(stream_id: str = "s1", **members: Any) -> EventStream:
    return EventStream(stream_id=stream_id, client_id="c", aud="rx", delivery=PollDelivery(), created_at=1, **members)


@pytest.fixture(scope="module")
def signs(tmp_path_factory: pytest.TempPathFactory) -> Signatures:
    settings = Settings(state=tmp_path_factory.mktemp("keys"))
    keys = (load_or_create(settings, purpose) for purpose in ("signals", "signals-rs256"))
    return Signatures(SimpleNamespace(alg=key.alg, current=key) for key in keys)


def happening(cause: str = "c1", subject: str = "ann@example.com") -> Happening:
    return Happening(caep.SessionRevoked(event_timestamp=1), parse_subject({"format": "email", "email": subject}), cause)


def claims(made: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = jwt.decode(made.set, options={"verify_signature": False})
    return decoded


def test_a_set_has_what_its_profile_asks_for_and_nothing_else(signs: Signatures) -> None:
    made = queued(happening(), stream(), ISSUER, signs, NOW)
    assert jwt.get_unverified_header(made.set).keys() == {"typ", "alg", "kid"}
    said = claims(made)
    assert said == {
        "iss": ISSUER,
        "aud": "rx",
        "iat": 1_800_000_000,
        "jti": made.jti,
        "txn": made.txn,
        "sub_id": {"format": "email", "email": "ann@example.com"},
        "events": {caep.SessionRevoked.URI: {"event_timestamp": 1}},
    }


def test_one_thing_told_twice_is_one_set_and_two_things_are_two(signs: Signatures) -> None:
    """INVARIANT: telling again what was told (after a crash, from another copy) makes the same jti, and nothing else does.

    A random jti would break the first half; leaving out the stream, the subject or the type would break the second.
    """
    made = queued(happening(), stream(), ISSUER, signs, NOW)
    assert queued(happening(), stream(), ISSUER, signs, NOW + 60).jti == made.jti
    other = Happening(caep.RiskLevelChange(principal="USER", current_level="LOW"), happening().subject, "c1")
    others = [
        queued(happening("c2"), stream(), ISSUER, signs, NOW),
        queued(happening(), stream("s2"), ISSUER, signs, NOW),
        queued(happening(subject="bob@example.com"), stream(), ISSUER, signs, NOW),
        queued(other, stream(), ISSUER, signs, NOW),
    ]
    assert len({made.jti, *(one.jti for one in others)}) == 5
    assert others[1].txn == others[3].txn == made.txn != others[0].txn


@pytest.mark.parametrize("state", ["abc", None])
def test_a_verification_repeats_the_state_and_invents_none(signs: Signatures, state: str | None) -> None:
    said = claims(queued(verification(stream(), state, "c"), stream(), ISSUER, signs, NOW))
    assert said["sub_id"] == {"format": "opaque", "id": "s1"}
    assert list(said["events"].values()) == [{} if state is None else {"state": state}]


def test_a_changed_stream_says_what_it_is_now(signs: Signatures) -> None:
    paused = stream(status="paused", status_reason="why")
    said = claims(queued(stream_updated(paused, "c"), paused, ISSUER, signs, NOW))
    assert list(said["events"].values()) == [{"status": "paused", "reason": "why"}]


def test_a_sealed_credential_opens_for_its_own_stream_alone(tmp_path: Path) -> None:
    """INVARIANT: what is sealed for one stream opens neither for another, nor changed, nor under another key.

    Leaving the stream's id out of what the seal covers would break it: one receiver's credential would be sent to another's endpoint.
    """
    settings = Settings(state=tmp_path)
    sealer = Sealer(seal_key(settings))
    sealed = sealer.seal("s1", "Bearer s")
    assert "Bearer" not in sealed
    assert sealer.seal("s1", "Bearer s") != sealed
    assert Sealer(seal_key(settings)).open("s1", sealed) == "Bearer s"
    assert (settings.keys / "signals-seal.key").stat().st_mode & 0o777 == 0o600
    changed = sealed[:-2] + ("AA" if sealed[-2:] != "AA" else "BB")
    for stream_id, text, opener in (
        ("s2", sealed, sealer), ("s1", changed, sealer), ("s1", "", sealer), ("s1", "!", sealer), ("s1", sealed, Sealer(b"k" * 32)),
    ):  # fmt: skip
        with pytest.raises(SealBroken):
            opener.open(stream_id, text)


@pytest.mark.parametrize(
    ("issuer", "path"),
    [
        ("https://tx.example", "/.well-known/ssf-configuration"),
        ("https://tx.example/", "/.well-known/ssf-configuration"),
        ("https://tx.example/t1", "/.well-known/ssf-configuration/t1"),
        ("https://tx.example:8443/a/b/", "/.well-known/ssf-configuration/a/b"),
    ],
)
def test_the_well_known_name_is_inserted(issuer: str, path: str) -> None:
    assert well_known_path(issuer) == path


def test_metadata_holds_no_empty_array() -> None:
    metadata = Transmitter(ISSUER, "NONE", 60).metadata()
    assert metadata["issuer"] == ISSUER
    assert metadata["default_subjects"] == "NONE"
    assert "[]" not in json.dumps(metadata)
    assert all(value.startswith("https://tx.example/ssf/") for name, value in metadata.items() if name.endswith(("endpoint", "_uri")))


@pytest.mark.parametrize("issuer", ["http://tx.example", "https://tx.example/?a", "https://tx.example/#a", "tx.example", "https://"])
def test_an_issuer_that_is_none_stops_the_start(tmp_path: Path, issuer: str) -> None:
    with pytest.raises(SettingsError, match="ssf_issuer"):
        parse(tmp_path, {"ssf_issuer": issuer})
