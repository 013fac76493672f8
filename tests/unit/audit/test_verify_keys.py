"""`weft record verify` and the keys of tokens: a record counts under the key whose time it was, whatever became of it since."""

from __future__ import annotations

import json

import pytest

from schemas.record import ISSUED
from tests.support.hotpath import HotPath
from tests.support.identities import NOW
from workers.audit.index import Indexed
from workers.audit.verify import verify


async def recorded(hot: HotPath) -> dict:
    await hot.mint.grant(await hot.allowed(hot.agent()))
    return json.loads(hot.stream.messages[0][1])


def differs(event: dict, hot: HotPath) -> list:
    return verify([Indexed(1, ISSUED, "spiffe://88mph.com", "s", event)], hot.table)["differ"]


async def test_a_record_names_a_key_whose_time_it_was() -> None:
    """INVARIANT: a record that names a key which might not sign at its time is reported.

    Taking any key of ours would break it: one that was made later, retired before, or is somebody else's.
    """
    hot = HotPath()
    event = await recorded(hot)
    assert differs(event, hot) == []
    forged = {**event, "data": {**event["data"], "kid": "another"}}
    assert [row["differs"] for row in differs(forged, hot)] == [["kid"]]


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({"not_after": NOW + 5}, True),
        ({"not_after": NOW - 300}, False),
        ({"not_before": NOW + 60}, False),
        ({"state": "compromised"}, False),  # already then
    ],
)
async def test_the_periods_of_a_key(changes: dict, fits: bool) -> None:
    hot = HotPath()
    event = await recorded(hot)
    (key,) = hot.table.keys("tokens")
    hot.table._slots[key.kind].clear()  # as the facts stood then
    hot.put(key.model_copy(update=changes))
    found = differs(event, hot)
    assert ("kid" not in (found[0]["differs"] if found else [])) is fits
