"""Pages of RECORD fit a message, however large the events are: a replay and an explanation end, and miss none."""

import json

from weft.nkey import KeyPair

from schemas.facts import Grant, Person
from streams.bus import Publisher
from tests.support.workers import running
from workers.audit.app import build
from workers.common.operator_client import OperatorClient

EVENTS, FILLER = 40, "x" * 20_000


async def test_a_page_is_cut_by_size_and_the_next_one_goes_on(fabric_server):
    key = KeyPair("U")
    auditor = Person(nkey=key.public, name="auditor", roles=(Grant(role="auditor", namespace="spiffe://88mph.com"),))
    await fabric_server.put_facts(auditor)
    publisher = Publisher(await fabric_server.worker("gateway"))
    for n in range(EVENTS):
        body = {"specversion": "1.0", "id": str(n), "source": "/t", "type": "org.weft.record.limited.v1", "time": "2026-01-01T00:00:00Z"}
        data = {"filler": FILLER, "txn": "large"}
        await publisher.publish("RECORD", "weft.record.gateway.limited.filler", json.dumps({**body, "data": data}).encode(), msg_id=f"t{n}")
    async with running(build, fabric_server.settings):
        client = OperatorClient.over(await fabric_server.outer("operator", key.public, key), fabric_server.settings, key.seed)
        first = await client.query(what="explain", id="large")
        assert 0 < len(first.rows) < EVENTS
        assert [row["seq"] async for row in client.replay()] == list(range(1, EVENTS + 1))
        assert [row["seq"] for row in (await client.explain("large")).rows] == list(range(1, EVENTS + 1))
        by_count = await client.all(what="explain", id="large", limit=3)
        assert [row["seq"] for row in by_count] == list(range(1, EVENTS + 1))
