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
    assert [(row["seq"], row["differs"]) for row in differ] == [(seq, ["said by a worker whose word it is not"]) for seq in (1, 2)]


@pytest.mark.parametrize("type_", sorted(record.BY_TYPE.keys() - {record.CANARY}))
def test_it_is_known_who_says_what(type_: str) -> None:
    assert record.WORKERS[type_]
