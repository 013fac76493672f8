"""What a worker says that is another's to say."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from schemas import record
from streams.facts_table import FactsTable
from workers.audit.explain import explain
from workers.audit.index import Arrived, Index
from workers.audit.verify import verify

DENIED = orjson.dumps({"type": record.DENIED, "data": {"explanation": "e1", "agent": "spiffe://88mph.com/agents/a"}})
USED = orjson.dumps({"type": record.USED, "data": {"txn": "t1", "jti": "j1"}})


async def test_a_record_of_anothers_leads_nowhere_and_is_named(tmp_path: Path) -> None:
    """INVARIANT: no worker can write another's record: nothing that is asked finds it, and `weft record verify` says where it stands.

    Broken by the event's own word for what it is: whoever holds the gateway's credential would have a point report, or the broker
    issue, what it likes.
    """
    index = await Index.open(tmp_path / "index.db", "88mph.com")
    try:
        forged = [("weft.record.signals.signalled.x", DENIED), ("weft.record.gateway.denied.x", USED)]
        await index.add([Arrived(seq, *message) for seq, message in enumerate((*forged, ("weft.record.gateway.denied.x", DENIED)), 1)])
        found = await explain(index, "e1", lambda _: True, 0, 10)
        assert [event.seq for event in found] == [3]
        assert await explain(index, "t1", lambda _: True, 0, 10) == []
        assert await index.page(0, 10, (record.USED,)) == []
        decided = await index.decided(0, 0, 10)
        differ = verify([one.event for one in decided if one.event.seq < 3], FactsTable())["differ"]
    finally:
        await index.close()
    assert [(row["seq"], row["differs"]) for row in differ] == [(seq, ["no record of its worker's"]) for seq in (1, 2)]


BROKEN = {
    "no event": b"\x00\xff",
    "claims of nothing": orjson.dumps({"type": "org.weft.record.x.v1", "data": {"claims": {}}}),
    "targets that are none": orjson.dumps({"type": record.REVOKED, "data": {"targets": 7}}),
    "numbers beyond SQLite's": orjson.dumps(
        {
            "type": record.ISSUED,
            "data": {"kid": "k", "claims": {**dict.fromkeys(("iat", "exp", "rev", "facts"), 2**63), "sub": "a", "jti": "j", "txn": "t"}},
        }
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_record_ends_nothing_and_is_named(tmp_path: Path, name: str) -> None:
    """INVARIANT: whatever stands on RECORD, all that comes after it is found, and `weft record verify` passes nothing over in silence.

    Broken by believing that every event is what its type says: the first that is not ends the index, and with it every answer.
    """
    worker = "revocation" if "targets" in name else "broker"
    index = await Index.open(tmp_path / "index.db", "88mph.com")
    try:
        await index.add([Arrived(1, f"weft.record.{worker}.issued.x", BROKEN[name]), Arrived(2, "weft.record.gateway.denied.x", DENIED)])
        found = await explain(index, "e1", lambda _: True, 0, 10)
        decided = await index.decided(0, 0, 10)
        differ = verify([one.event for one in decided if one.event.seq == 1], FactsTable())["differ"]
    finally:
        await index.close()
    assert [event.seq for event in found] == [2]
    assert [row["differs"] for row in differ] == [["no record of its worker's"]]


@pytest.mark.parametrize("type_", sorted(record.BY_TYPE.keys() - {record.CANARY}))
def test_it_is_known_who_says_what(type_: str) -> None:
    assert record.WORKERS[type_]
