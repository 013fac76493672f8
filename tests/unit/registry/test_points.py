"""What a guard is told: page by page where one message does not hold it."""

from __future__ import annotations

from weft.spiffeid import SpiffeID

from schemas.points import Attach
from streams.wire import MAX_PAYLOAD_BYTES
from tests.support.facts import table_of
from tests.support.guarded import tool
from workers.registry.points import attached

WORKLOAD = "spiffe://88mph.com/weft/egress"


def test_every_tool_of_a_workload_comes_in_pages_that_fit_a_message() -> None:
    mine = [tool(name=f"tool-{number:04}", workload=WORKLOAD, capabilities=["c" * 50] * 20).plain() for number in range(400)]
    table = table_of([*mine, tool(name="theirs").plain(), tool(name="asleep", workload=WORKLOAD, state="suspended").plain()])
    seen, after = [], None
    while True:
        asked = Attach(tools=(), every=True, after=after)
        page = attached(asked, SpiffeID.parse(WORKLOAD), table, trust_domain="88mph.com", issuer="https://i", now=1.0)
        assert len(page.wire()) < MAX_PAYLOAD_BYTES
        seen += [one.name for one in page.tools]
        after = page.next
        if after is None:
            break
    assert seen == [one["name"] for one in mine]
