"""What the broker puts together by hand is what the contracts say, byte for byte."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.decision import Decision
from schemas.record import Issued
from schemas.token import TokenClaims
from streams.bus import parse
from tests.support import world
from tests.support.hotpath import SETTINGS, HotPath
from workers.broker.bounds import agreement
from workers.broker.claims import build_claims, fresh_id
from workers.broker.issuance import Issuance
from workers.common.decision import decide

CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"web-search": {"token_form": "resource"}, "payments": {"token_form": "resource"}},
    {"web-search": {"bind": []}, "payments": {"bind": ["body"], "single_use": True}},
    {"web-search": {"proof": "dpop"}, "researcher": {"charter": {"authorization_details": ["search"]}}},
)


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("name", ["search", "refund", "hop"])
@pytest.mark.parametrize("intent", [None, 'für "Doc"\n\u2028'])
def test_claims_are_the_model_of_them(name: str, changes: dict[str, Any], intent: str | None) -> None:
    """INVARIANT: every token's claims are a TokenClaims, and the very bytes that this model would write.

    It would break if a claim were added to the model, or put into the token, alone.
    """
    asked, table = world.request(name), world.facts(changes)
    decision = decide(asked, table)
    assert decision
    built = orjson.dumps(build_claims(asked, decision, settings=SETTINGS, now=asked.now, fresh_id=fresh_id, intent=intent))
    assert TokenClaims.model_validate_json(built).wire() == built


async def test_a_record_is_the_model_of_it() -> None:
    """INVARIANT: what RECORD is given for a grant is an Issued, and the very bytes that this model would write; so anyone can read back
    what was released.

    It would break if a member were left out, or stood under another name.
    """
    for changes in ({}, {"intent_text": "look for the flux capacitor"}):
        hot = HotPath()
        mint = await hot.allowed(hot.agent(), **changes)
        other = mint.decision.model_copy(update={"facts_revision": 1})
        for theirs in (mint.decision, other):
            released = await hot.new_mint().grant(mint.model_copy(update={"decision": theirs}))
            _, body = hot.stream.messages.pop()
            hot.stream._ids.clear()
            issued = parse(Issued, body).data
            assert orjson.dumps(orjson.loads(body)["data"]) == issued.wire()
            assert (issued.gateway is None) == (theirs is mint.decision)
            assert Issuance.recorded(issued).granted(released.token) == released


def test_an_agreement_is_of_these_two_and_no_others() -> None:
    asked, table = world.request("search"), world.facts()
    mine = decide(asked, table)
    narrower = mine.model_copy(update={"grant": mine.grant.model_copy(update={"ttl_s": 1})})  # type: ignore[union-attr]
    assert agreement(mine, mine).within
    assert not agreement(mine, narrower).within
    assert agreement(mine, mine) is agreement(mine, mine)
    assert not agreement(mine, Decision(outcome="deny", lines=(), facts_revision=1)).within


@pytest.mark.parametrize("times", range(3))
def test_an_id_is_a_random_uuid(times: int) -> None:
    from uuid import UUID

    made = [UUID(fresh_id()) for _ in range(50)]
    assert {(one.version, one.variant) for one in made} == {(4, "specified in RFC 4122")}
    assert len(set(made)) == 50
