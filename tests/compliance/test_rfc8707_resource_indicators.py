"""RFC 8707 resource indicators, section 2, at the token endpoint: which targets a token is for, and that it is for nothing else."""

from __future__ import annotations

import pytest

from tests.compliance.test_txn_tokens import call
from tests.support.oauth import ISSUER, SEARCH, OAuthWorld, client, payload

CC = {"grant_type": "client_credentials"}


async def test_2_the_resource_becomes_the_audience(world: OAuthWorld) -> None:
    world.put(client("console", world.keys["console"], resources=["https://api.88mph.com", "https://b.88mph.com"]))
    one = await world.post("/oauth/token", {**CC, **world.proven(), "resource": "https://api.88mph.com"})
    assert payload(one.json()["access_token"])["aud"] == "https://api.88mph.com"
    form = [*{**CC, **world.proven()}.items(), ("resource", "https://api.88mph.com"), ("resource", "https://b.88mph.com")]
    both = await world.post("/oauth/token", form)
    assert payload(both.json()["access_token"])["aud"] == ["https://api.88mph.com", "https://b.88mph.com"]


@pytest.mark.parametrize("resource", ["https://other.example", "not-absolute", "https://api.88mph.com#f", "https://" + "a" * 600])
async def test_2_invalid_target(world: OAuthWorld, resource: str) -> None:
    answer = await world.post("/oauth/token", {**CC, **world.proven(), "resource": resource})
    assert (answer.status_code, answer.json().get("error")) == (400, "invalid_target")


async def test_2_without_a_resource_a_token_is_for_the_fabric_alone(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/token", {**CC, **world.proven()})
    assert payload(answer.json()["access_token"])["aud"] == ISSUER


async def test_2_one_target_that_is_not_its_own_refuses_them_all(world: OAuthWorld) -> None:
    """INVARIANT: a token is for exactly the targets asked for, or is not issued.

    Leaving out the one that is not allowed would break it: the client would think that the token opens it.
    """
    world.put(client("console", world.keys["console"], resources=["https://api.88mph.com"]))
    form = [*{**CC, **world.proven()}.items(), ("resource", "https://api.88mph.com"), ("resource", "https://b.88mph.com")]
    answer = await world.post("/oauth/token", form)
    assert (answer.status_code, answer.json().get("error")) == (400, "invalid_target")


@pytest.mark.parametrize("resource", ["https://unknown.example", "https://web-search.88mph.com#f", "web-search"])
async def test_2_a_tool_that_is_not_known_is_no_target_of_an_exchange(world: OAuthWorld, resource: str) -> None:
    answer = await call(world, resource=resource)
    assert (answer.status_code, answer.json().get("error")) == (400, "invalid_target")


async def test_2_an_exchange_is_for_one_tool(world: OAuthWorld) -> None:
    form = [*world.exchange("researcher").items(), ("resource", SEARCH), ("resource", "https://payments.88mph.com")]
    answer = await world.post("/oauth/token", form)
    assert (answer.status_code, answer.json().get("error")) == (400, "invalid_target")


async def test_2_a_tool_is_no_target_of_a_clients_own_token(world: OAuthWorld) -> None:
    """INVARIANT: whatever a client's record lists, no token without a call is for a tool.

    A tool that introspects would let it do everything.
    """
    world.put(client("console", world.keys["console"], resources=[SEARCH]))
    answer = await world.post("/oauth/token", {**CC, **world.proven(), "resource": SEARCH})
    assert (answer.status_code, answer.json().get("error")) == (400, "invalid_target")
