"""RFC 7662: introspection."""

from __future__ import annotations

import json
from typing import Any

import pytest
from weft.digest import target_digest

from tests.compliance.test_txn_tokens import call, token
from tests.support.identities import NOW, Signer
from tests.support.oauth import FRONT, ISSUER, RESEARCHER, TXN, OAuthWorld, client, payload

CC = {"grant_type": "client_credentials"}


async def access(world: OAuthWorld, name: str = "console", **form: Any) -> str:
    return (await world.post("/oauth/token", {**CC, **world.proven(name), **form})).json()["access_token"]


async def look(world: OAuthWorld, token: str, name: str = "console", **form: Any) -> dict[str, Any]:
    answer = await world.post("/oauth/introspect", {**world.proven(name), "token": token, **form})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def test_2_2_an_active_token(world: OAuthWorld) -> None:
    made = await access(world, scope="ssf.read")
    found = await look(world, made)
    claims = payload(made)
    assert found["active"] is True
    assert found["token_type"] == "Bearer"
    for name in ("iss", "aud", "sub", "client_id", "iat", "exp", "jti", "scope", "txn"):
        assert found[name] == claims[name]


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense"])
async def test_2_1_a_hint_changes_nothing(world: OAuthWorld, hint: str) -> None:
    assert (await look(world, await access(world), token_type_hint=hint))["active"] is True


async def test_2_1_the_caller_is_authenticated(world: OAuthWorld) -> None:
    made = await access(world)
    answer = await world.post("/oauth/introspect", {"token": made})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    answer = await world.post("/oauth/introspect", {**world.proven(signer=Signer(kid="console-1")), "token": made})
    assert answer.status_code == 401


async def test_2_1_a_token_is_needed(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/introspect", world.proven())
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("what", ["unknown", "expired", "of another issuer", "not signed by us", "another's"])
async def test_2_2_inactive_says_nothing_else(world: OAuthWorld, what: str) -> None:
    made = await access(world)
    name = "console"
    if what == "unknown":
        made = "nonsense"
    elif what == "expired":
        world.clock.at += 300
    elif what == "of another issuer":
        made = world.own({**payload(made), "iss": "https://other"}, "at+jwt")
    elif what == "not signed by us":
        made = Signer(kid="tokens-1").sign(payload(made), typ="at+jwt")
    else:
        name = "front"
    assert await look(world, made, name) == {"active": False}


@pytest.mark.parametrize("hit", [("token", "jti"), ("transaction", "txn"), ("key", None)])
async def test_4_a_revoked_token_is_inactive_at_once(world: OAuthWorld, hit: tuple[str, str | None]) -> None:
    """INVARIANT: introspection answers by the revocation view, each time.

    An answer that was kept, or computed from the token alone, would go on saying "active" of what was revoked.
    """
    made = await access(world)
    assert (await look(world, made))["active"] is True
    value = "tokens-1" if hit[1] is None else payload(made)[hit[1]]
    world.revocations.hit.add(target_digest(hit[0], value))  # type: ignore[arg-type]
    assert await look(world, made) == {"active": False}


async def test_4_a_suspended_client_has_no_active_token(world: OAuthWorld) -> None:
    made = await access(world)
    world.put(client("console", world.keys["console"], state="suspended"))
    assert await look(world, made, "front") == {"active": False}
    world.put(client("console", world.keys["console"]), client("front", world.keys["front"], spiffe_id=FRONT, protects=[ISSUER]))
    assert (await look(world, made, "front"))["active"] is True
    world.put(client("console", world.keys["console"], state="suspended"))
    assert await look(world, made, "front") == {"active": False}


async def test_4_by_a_stale_view_nothing_is_said(world: OAuthWorld) -> None:
    made = await access(world)
    world.views.is_fresh = False
    answer = await world.post("/oauth/introspect", {**world.proven(), "token": made})
    assert answer.status_code == 503
    world.views.is_fresh = True
    world.revocations.counter = 2
    answer = await world.post("/oauth/introspect", {**world.proven(), "token": made})
    assert answer.status_code == 503, "minted beyond this view"


async def test_2_2_who_serves_the_audience_may_see_it(world: OAuthWorld) -> None:
    world.put(client("console", world.keys["console"], resources=["https://api.88mph.com"]))
    made = await access(world, resource="https://api.88mph.com")
    assert (await look(world, made, "front"))["aud"] == "https://api.88mph.com"
    assert await look(world, made, "researcher") == {"active": False}


async def test_transaction_tokens_are_seen_by_their_trust_domain(world: OAuthWorld) -> None:
    made = await token(world)
    found = await look(world, made, "researcher")
    assert (found["active"], found["token_type"], found["typ"]) == (True, "N_A", TXN)
    assert found["req_wl"] == FRONT
    assert await look(world, made, "console") == {"active": False}, "it has nothing to do with transactions"


async def test_a_token_for_a_tool_is_seen_by_whose_it_is(world: OAuthWorld) -> None:
    made = (await call(world)).json()["access_token"]
    found = await look(world, made, "researcher")
    act = {"sub": RESEARCHER, "iss": ISSUER, "sub_profile": "ai_agent", "instance": payload(made)["act"]["instance"]}
    assert (found["active"], found["act"]) == (True, act)
    assert await look(world, made, "front") == {"active": False}


async def test_4_nothing_in_the_url(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/introspect?token=x", {**world.proven(), "token": "x"})
    assert answer.status_code == 400


async def test_rfc9449_6_2_a_bound_token_says_its_key(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/token", {**CC, **world.proven()}, headers={"dpop": world.proof()})
    found = await look(world, answer.json()["access_token"])
    assert (found["token_type"], found["cnf"]) == ("DPoP", payload(answer.json()["access_token"])["cnf"])
    assert json.dumps(found["cnf"])
    assert found["exp"] == NOW + 300
