"""The messages between gateway and broker, held to their contract in both directions."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.minting import MAX_TOGETHER, MINT, MintAnswer, MintAnswers, MintRequest, MintRequests
from schemas.reasons import DenyReason
from streams.bus import Malformed, event, parse
from tests.support.hotpath import HotPath
from workers.common.minting import answers_event, read_answers, read_requests, request_json, requests_event


async def honest(**changes: Any) -> MintRequest:
    hot = HotPath()
    return await hot.allowed(hot.agent(), **changes)


def changed(mint: MintRequest, **members: Any) -> bytes:
    """A message whose second request is not like the first."""
    second = {**orjson.loads(request_json(mint)), **members}
    return requests_event([request_json(mint), orjson.dumps({k: v for k, v in second.items() if v is not None})], "/test")


async def test_what_the_gateway_writes_is_the_contract_and_is_read_as_the_contract_reads_it() -> None:
    mints = [
        await honest(),
        await honest(intent_text="look"),
        (await honest()).model_copy(update={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}),
    ]
    written = requests_event(map(request_json, mints), "/test")
    assert parse(MintRequests, written).data.requests == tuple(mints)
    assert read_requests(written) == mints
    assert read_requests(event(MINT, MintRequests(requests=tuple(mints)), source="/test")) == mints


async def test_what_the_broker_writes_is_the_contract_and_is_read_as_the_contract_reads_it() -> None:
    hot = HotPath()
    granted = await hot.mint.grant(await hot.allowed(hot.agent()))
    answers = (MintAnswer(granted=granted), MintAnswer(refused=DenyReason.STEP_UP_REQUIRED, needs="approval"))
    written = answers_event(answers, "/test")
    assert parse(MintAnswers, written).data.answers == answers
    first, second = read_answers(written)
    assert (first.granted, first.refused) == (granted.wire(), None)
    assert second == (None, DenyReason.STEP_UP_REQUIRED, "approval")


@pytest.mark.parametrize(
    "members",
    [{"request": {}}, {"decision": {"outcome": "allow"}}, {"request": None, "decision": "none"}, {"decision": 1}, {"request": []}],
)
async def test_a_request_that_breaks_a_rule_is_none_and_leaves_its_neighbour_alone(members: dict[str, Any]) -> None:
    mint = await honest()
    try:
        read = read_requests(changed(mint, **members))
    except Malformed:
        assert members["request"] is None  # a member that is missing is the message's fault
    else:
        assert read == [mint, None]


@pytest.mark.parametrize("members", [{"caller": 1}, {"received_at": "now"}, {"deadline": None}, {"another": 1}, {"explanation": []}])
async def test_a_message_that_breaks_a_rule_is_malformed(members: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        read_requests(changed(await honest(), **members))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xff", b"[]", b"{}", b'{"specversion":"1.0","type":"org.weft.mint.requested.v1","data":{"requests":[]}}',
        b'{"specversion":"1.0","type":"org.weft.mint.requested.v2","data":{"requests":[]}}',
        b'{"specversion":"1.0","type":"org.weft.mint.answered.v2","data":{"answers":[]}}',
        b'{"specversion":"1.0","type":"org.weft.mint.answered.v2","data":{"answers":[{"refused":"unheard_of"}]}}',
    ],
)  # fmt: skip
def test_what_is_no_message_of_theirs_is_malformed(body: bytes) -> None:
    for read in (read_requests, read_answers):
        with pytest.raises(Malformed):
            read(body)


async def test_no_more_travel_together_than_the_contract_allows() -> None:
    one = request_json(await honest())
    assert len(read_requests(requests_event([one] * MAX_TOGETHER, "/test"))) == MAX_TOGETHER
    with pytest.raises(Malformed):
        read_requests(requests_event([one] * (MAX_TOGETHER + 1), "/test"))
