"""Bodies of messages.  CloudEvents 1.0.2 sections 3.1 and 3.2, JSON format."""

from __future__ import annotations

import json
import re

import pytest

from schemas.envelope import CloudEvent
from schemas.points import Claimed, Failure
from schemas.reasons import DenyReason
from streams.wire import Malformed, event, parse

GOOD = {"specversion": "1.0", "id": "1", "source": "/s", "type": "org.weft.x.v1", "time": "2026-01-01T00:00:00Z", "data": {"first": True}}


def test_an_event_reads_back() -> None:
    body = event("org.weft.x.v1", Claimed(first=True), source="/weft/x", subject="s", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    plain = json.loads(body)
    assert set(plain) == {"specversion", "id", "source", "type", "time", "datacontenttype", "subject", "traceparent", "data"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", plain["time"])
    read = parse(Claimed, body)
    assert isinstance(read, CloudEvent)
    assert (read.data, read.source, read.subject) == (Claimed(first=True), "/weft/x", "s")
    assert parse(Claimed, event("org.weft.x.v1", Claimed(first=True), source="/s", id="mine")).id == "mine"
    assert parse(Claimed, event("org.weft.x.v1", Claimed(first=True), source="/s")).id != read.id


def test_absent_members_stay_away() -> None:
    body = event("org.weft.failed.v1", Failure(reason=DenyReason.MALFORMED, detail="d"), source="/s")
    assert set(json.loads(body)["data"]) == {"reason", "detail", "context"}
    assert "subject" not in json.loads(body)


def test_unknown_extensions_are_ignored() -> None:
    assert parse(Claimed, json.dumps({**GOOD, "extension": 1}).encode()).data.first


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        json.dumps({**GOOD, "specversion": "0.3"}).encode(),
        json.dumps({**GOOD, "id": ""}).encode(),
        json.dumps({**GOOD, "type": "com.example"}).encode(),
        json.dumps({**GOOD, "time": "yesterday"}).encode(),
        json.dumps({key: value for key, value in GOOD.items() if key != "data"}).encode(),
        json.dumps({**GOOD, "data": {"first": 1}}).encode(),
        json.dumps({**GOOD, "data": {"first": True, "SECRET": "SECRET"}}).encode(),
        json.dumps({**GOOD, "x": "y" * 262_144}).encode(),
    ],
)
def test_anything_else_is_malformed(body: bytes) -> None:
    """INVARIANT: what is not exactly the event expected is refused, and the refusal repeats nothing of it.

    Quoting pydantic's own text would break it: it names the members, and a member may be a token.
    """
    with pytest.raises(Malformed) as refused:
        parse(Claimed, body)
    assert "SECRET" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
