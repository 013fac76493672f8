"""Pages of RECORD fit a message, however large the events are: a replay ends, and misses none."""

import json

from weft.nkey import KeyPair

from schemas.commands import QUERY, Answer, Query
from schemas.facts import Grant, Person
from streams import subjects
from streams.bus import HEADERS, Publisher, event, parse
from tests.support.workers import running
from workers.audit.app import build

EVENTS, FILLER = 40, "x" * 20_000


async def test_a_page_is_cut_by_size_and_the_next_one_goes_on(fabric_server):
    key = KeyPair("U")
    auditor = Person(nkey=key.public, name="auditor", roles=(Grant(role="auditor", namespace="spiffe://88mph.com"),))
    await fabric_server.put_facts(auditor)
    publisher = Publisher(await fabric_server.worker("broker"))
    for n in range(EVENTS):
        body = {"specversion": "1.0", "id": str(n), "source": "/t", "type": "org.weft.record.limited.v1", "time": "2026-01-01T00:00:00Z"}
        await publisher.publish(
            "RECORD", "weft.record.broker.filler", json.dumps({**body, "data": {"filler": FILLER}}).encode(), msg_id=f"t{n}"
        )
    async with running(build, fabric_server.settings):
        nc = await fabric_server.outer("operator", key.public, key)
        seen, after = [], 0
        while after is not None:
            question = event(QUERY, Query(what="replay", after=after, limit=500), source="/t")
            raw = await nc.request(subjects.QUERY.at(key.public), question, timeout=5, headers=HEADERS)
            answer = parse(Answer, raw.data).data
            seen += [row["seq"] for row in answer.rows]
            after = answer.next
    assert seen == list(range(1, EVENTS + 1))
