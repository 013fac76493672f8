"""RFC 7009: revocation."""

from __future__ import annotations

import pytest

from schemas.reasons import DenyReason
from tests.compliance.test_rfc7662 import access, look
from tests.compliance.test_txn_tokens import call, token
from tests.support.oauth import TXN, OAuthWorld, payload
from workers.broker.oauth.refusals import unavailable


async def revoke(world: OAuthWorld, token: str, name: str = "console", **form: str) -> int:
    return (await world.post("/oauth/revoke", {**world.proven(name), "token": token, **form})).status_code


@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "nonsense"])
async def test_2_1_a_client_revokes_its_own(world: OAuthWorld, hint: str | None) -> None:
    made = await access(world)
    assert await revoke(world, made, **({} if hint is None else {"token_type_hint": hint})) == 200
    (order,) = world.orders.ordered
    assert (order.targets, order.by) == ((("token", payload(made)["jti"]),), "console")
    assert await look(world, made) == {"active": False}


async def test_2_1_nobody_revokes_anothers(world: OAuthWorld) -> None:
    """INVARIANT: a client ends the tokens that were issued to it, and no other's.

    Otherwise whoever sees a token could stop its holder.
    """
    made = await access(world)
    answer = await world.post("/oauth/revoke", {**world.proven("front"), "token": made})
    assert answer.status_code == 400
    assert answer.json()["error"] == "unauthorized_client"
    assert world.orders.ordered == []
    assert (await look(world, made))["active"] is True


@pytest.mark.parametrize("what", ["unknown", "expired", "revoked before"])
async def test_2_2_what_is_no_token_any_more_is_revoked(world: OAuthWorld, what: str) -> None:
    made = await access(world)
    if what == "unknown":
        made = "nonsense"
    elif what == "expired":
        world.clock.at += 300
    else:
        assert await revoke(world, made) == 200
        world.orders.ordered.clear()
    assert await revoke(world, made) == 200
    assert world.orders.ordered == []


async def test_2_the_answer_has_no_body(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/revoke", {**world.proven(), "token": "x"})
    assert (answer.status_code, answer.content) == (200, b"")


async def test_2_1_the_client_is_authenticated(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/revoke", {"token": await access(world)})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_2_2_1_503_means_that_the_token_still_lives(world: OAuthWorld) -> None:
    made = await access(world)

    async def silent(_: object) -> None:
        raise unavailable(DenyReason.DEADLINE_EXCEEDED)

    world.orders.revoke = silent  # type: ignore[method-assign]
    answer = await world.post("/oauth/revoke", {**world.proven(), "token": made})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (await look(world, made))["active"] is True


async def test_transaction_tokens_of_its_own(world: OAuthWorld) -> None:
    made = await token(world)
    assert await revoke(world, made, "researcher") == 400
    assert await revoke(world, made, "front") == 200
    assert (await world.post("/oauth/token", world.exchange("front", subject_token=made, subject_token_type=TXN))).status_code == 400
    for_a_tool = (await call(world)).json()["access_token"]
    assert await revoke(world, for_a_tool, "front") == 400
    assert await revoke(world, for_a_tool, "researcher") == 200
