"""Promise 8: no single part is believed.  A gateway that lies holds good tokens of other people; it gets nothing by them."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.facts import UserIssuer
from schemas.invocation import InvocationRequest
from schemas.minting import MintRequest
from schemas.reasons import DenyReason
from tests.support.facts import body
from tests.support.hotpath import HotPath
from tests.support.identities import user_claims
from tests.support.invocations import ADVISOR, AgentSide
from workers.common.requests import RequestRefused

FRAUD = {"tool": "fraud-check", "actions": ["check"], "purpose": "process.refund"}


def fabric() -> HotPath:
    """Marty and Doc both operate the fraud check, and both let the advisor act for them."""
    hot = HotPath()
    hot.put(UserIssuer(iss="https://login.88mph.com", jwks={"keys": [hot.issuer.jwk]}, aud="https://fabric.88mph.com"))
    for relation, entity in (("operates", "tool:fraud-check"), ("delegates_to", f"agent:{ADVISOR}")):
        hot.put(body({"kind": "relation", "subject": "user:doc", "relation": relation, "object": entity}))
    return hot


def token_of(hot: HotPath, person: str) -> str:
    claims = user_claims(now=hot.clock.at, sub=person, scope="check", client_id=ADVISOR)
    return hot.issuer.sign(claims, typ="at+jwt")


def carrying(mint: MintRequest, **changes: Any) -> MintRequest:
    """The same signed request with other things beside it."""
    request = InvocationRequest.model_validate({**mint.request.model_dump(), **changes})
    return mint.model_copy(update={"request": request})


@pytest.mark.parametrize(
    ("signed_for", "carried"), [("marty", "doc"), (None, "doc"), ("marty", None)], ids=["swapped", "added", "taken away"]
)
async def test_no_person_is_swapped_or_added(signed_for: str | None, carried: str | None) -> None:
    """INVARIANT: a token is minted for the person whose token the agent signed for, and for nobody else (promise 8).

    Verifying the token that is carried, however well, without comparing it to the one that the request names would break it: the
    token that the gateway puts there is a good one, of a person with the same rights.
    """
    hot = fabric()
    agent: AgentSide = hot.agent(id=ADVISOR)
    tokens = {person: token_of(hot, person) for person in ("marty", "doc")}
    for good in tokens.values():  # both would be granted, had the agent asked
        assert await hot.mint.grant(await hot.allowed(agent, user=good, **FRAUD))
    honest = await hot.allowed(agent, user=tokens["doc"], **FRAUD)  # the Allow that the gateway has for the other person
    asked = agent.carried(hot.clock.at, user=tokens.get(signed_for or ""), **FRAUD)
    lie = carrying(honest, **{**asked, "user_token": tokens.get(carried or "")})
    with pytest.raises(RequestRefused) as refused:
        await hot.mint.grant(lie)
    assert refused.value.reason is DenyReason.USER_TOKEN_INVALID
