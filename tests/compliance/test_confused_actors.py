"""The confused deputy at the token endpoint: one scenario for each way to misuse an actor token, or an exchange with one; each refused.

On the bus: tests/unit/promises/test_confused_deputy.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.support import world as small
from tests.support.acting import ACCESS, API, JWT, begin, consent, exchange, front, granted, own_token, self_signed, svid
from tests.support.identities import NOW
from tests.support.oauth import ADVISOR, FRONT, RESEARCHER, SPIFFE, TXN, TYPE, OAuthWorld, client, payload

BACKEND = "https://backend.88mph.com"
SERVICE_B = "spiffe://88mph.com/services/backend"
WANTED: dict[str, Any] = {"requested_token_type": ACCESS, "audience": None, "resource": BACKEND}
Scenario = Callable[[OAuthWorld], Awaitable[httpx.Response]]


def wide(world: OAuthWorld, agent: str) -> None:
    """An agent that may all that the researcher may, and whom marty lets act."""
    charter = small.bodies()["researcher"]["charter"]
    world.put({**small.bodies()["advisor"], "id": agent, "charter": charter}, consent(agent))


# --- a stolen actor token -------------------------------------------------------------------------------------------------------------


async def a_stolen_svid_at_a_client_without_actors(world: OAuthWorld) -> httpx.Response:
    world.put(front(world, actors=None))
    return await exchange(world, svid(world))


async def a_stolen_svid_of_a_neighbour(world: OAuthWorld) -> httpx.Response:
    """By whole segments: `agents/res*` is no prefix of `agents/researcher`."""
    world.put(front(world, actors=["spiffe://88mph.com/agents/res"]))
    return await exchange(world, svid(world))


async def a_stolen_svid_of_a_higher_path(world: OAuthWorld) -> httpx.Response:
    world.put(front(world, actors=["spiffe://88mph.com/agents/researcher/*"]))
    return await exchange(world, svid(world))


async def a_stolen_access_token_of_another_client(world: OAuthWorld) -> httpx.Response:
    world.put(front(world, actors=None))
    return await exchange(world, await own_token(world), ACCESS)


async def a_client_that_is_no_workload_as_anothers_actor(world: OAuthWorld) -> httpx.Response:
    """Its opaque name is in no list of workloads."""
    world.put(client("console", world.keys["console"], scopes=["web.search.execute"]))
    return await exchange(world, await own_token(world, "console"), ACCESS)


async def an_svid_from_the_bus(world: OAuthWorld) -> httpx.Response:
    """Whoever sees an agent's request on the bus has its SVID, but for another audience."""
    return await exchange(world, svid(world, aud=["weft:88mph.com:UABCDEF"]))


async def an_agent_bringing_a_stronger_one(world: OAuthWorld) -> httpx.Response:
    """The researcher may not refund, and the advisor's token beside its own does not help it to."""
    wide(world, ADVISOR)
    world.put({**small.bodies()["advisor"]})
    world.put(client("researcher", world.keys["researcher"], spiffe_id=RESEARCHER, actors=[ADVISOR]))
    inbound = world.person(client_id=RESEARCHER)
    return await exchange(world, svid(world, ADVISOR), name="researcher", scope="process.refund", subject_token=inbound)


async def an_agent_without_consent_bringing_one_that_has_it(world: OAuthWorld) -> httpx.Response:
    wide(world, ADVISOR)
    world.put(consent(RESEARCHER, expires_at=NOW - 1))
    world.put(client("researcher", world.keys["researcher"], spiffe_id=RESEARCHER, actors=[ADVISOR]))
    return await exchange(world, svid(world, ADVISOR), name="researcher", subject_token=world.person(client_id=RESEARCHER))


async def an_agent_with_consent_brought_by_a_client_for_one_that_has_none(world: OAuthWorld) -> httpx.Response:
    wide(world, ADVISOR)
    world.put(consent(ADVISOR, expires_at=NOW - 1))
    return await exchange(world, svid(world, ADVISOR))


async def a_client_of_many_workloads_with_the_token_of_another(world: OAuthWorld) -> httpx.Response:
    """One client stands for all of them; the access token is still its workload's alone."""
    world.put(client("svid-researcher", auth_method="spiffe_jwt", spiffe_id="spiffe://88mph.com/services/*", scopes=["web.search.execute"]))
    shown = {"client_assertion_type": SPIFFE, "client_id": "svid-researcher"}
    held = {**world.svid("spiffe://88mph.com/services/a", weft_instance=None), **shown}
    token = (await world.post("/oauth/token", {"grant_type": "client_credentials", **held})).json()["access_token"]
    other = {**world.svid("spiffe://88mph.com/services/b", weft_instance=None), **shown}
    said = {
        "subject_token": '{"sub":"marty"}',
        "subject_token_type": f"{TYPE}unsigned_json",
        "actor_token": token,
        "actor_token_type": ACCESS,
    }
    return await world.post("/oauth/token", {**world.exchange("none", **said), **other})


# --- a delegate as actor --------------------------------------------------------------------------------------------------------------


async def a_token_of_an_exchange_as_actor(world: OAuthWorld) -> httpx.Response:
    """Whoever was given a token to act with does not hand the acting on."""
    delegated = await granted(world, svid(world), **WANTED)
    return await exchange(world, delegated, ACCESS)


async def a_transaction_token_as_actor(world: OAuthWorld) -> httpx.Response:
    return await exchange(world, await granted(world, svid(world)), ACCESS)


async def a_persons_token_as_actor(world: OAuthWorld) -> httpx.Response:
    return await exchange(world, world.person(client_id=FRONT), ACCESS)


async def a_persons_jwt_as_actor(world: OAuthWorld) -> httpx.Response:
    return await exchange(world, world.person(typ="JWT", aud=[world.settings.issuer]), JWT)


async def a_client_that_speaks_for_another(world: OAuthWorld) -> httpx.Response:
    return await exchange(world, self_signed(world, sub=RESEARCHER), f"{TYPE}self_signed")


# --- whom the subject token lets act ----------------------------------------------------------------------------------------------------


async def a_subject_that_lets_another_act(world: OAuthWorld) -> httpx.Response:
    return await exchange(world, svid(world), subject_token=world.person(aud=API, may_act={"sub": ADVISOR}))


async def a_subject_that_lets_the_actor_act_without_its_token(world: OAuthWorld) -> httpx.Response:
    return await exchange(world, None, None, subject_token=world.person(aud=API, may_act={"sub": RESEARCHER}))


async def a_subject_that_lets_a_namesake_act(world: OAuthWorld) -> httpx.Response:
    """`researcher` at the provider is somebody; at the fabric it is somebody else."""
    return await exchange(world, None, None, "researcher", subject_token=world.person(may_act={"sub": "researcher"}))


async def a_subject_of_another_app_with_any_actor(world: OAuthWorld) -> httpx.Response:
    """The token was given to an app, for the fabric; neither client nor actor is it."""
    return await exchange(world, svid(world), subject_token=world.person(client_id="https://app.example/c.json"))


async def a_subject_in_which_somebody_else_acts(world: OAuthWorld) -> httpx.Response:
    return await exchange(world, svid(world), subject_token=world.person(client_id=FRONT, act={"sub": ADVISOR}))


# --- laundering -----------------------------------------------------------------------------------------------------------------------


async def wider_through_a_transaction_token(world: OAuthWorld) -> httpx.Response:
    """access token -> Transaction Token -> access token: the scope of the last is the first's at most."""
    narrow = await granted(world, svid(world), subject_token=world.person(aud=API, scope="web.search.execute web.search.read"), **WANTED)
    world.put(front(world, protects=[API, BACKEND]))
    txn = await granted(world, None, None, subject_token=narrow)
    return await exchange(world, None, None, subject_token=txn, subject_token_type=TXN, scope="web.search.read", **WANTED)


async def other_details_by_changing_the_kind(world: OAuthWorld) -> httpx.Response:
    """What the transaction is about was fixed when it began."""
    world.put(front(world, protects=[API, BACKEND]))
    first = await granted(world, None, None, request_details='{"limit":1}')
    access = await granted(world, None, None, subject_token=first, subject_token_type=TXN, **WANTED)
    assert payload(await granted(world, None, None, subject_token=access))["tctx"] == {"limit": 1}
    return await exchange(world, None, None, subject_token=access, request_details='{"limit":9}')


async def details_added_later_by_changing_the_kind(world: OAuthWorld) -> httpx.Response:
    world.put(front(world, protects=[API, BACKEND]))
    access = await granted(world, None, None, **WANTED)
    return await exchange(world, None, None, subject_token=access, request_details='{"limit":9}')


async def more_tokens_than_its_record_allows_by_changing_the_kind(world: OAuthWorld) -> httpx.Response:
    """A replacement is one, whichever kind it is of."""
    world.put(front(world, protects=[API, BACKEND], replacements=1))
    first = await granted(world, None, None)
    access = await granted(world, None, None, subject_token=first, subject_token_type=TXN, **WANTED)
    return await exchange(world, None, None, subject_token=access)


async def longer_by_changing_the_kind(world: OAuthWorld) -> httpx.Response:
    """Nothing that is made of a token outlives it."""
    world.put(front(world, protects=[API, BACKEND], access_ttl_s=300))
    first = await granted(world, None, None)
    access = await granted(world, None, None, subject_token=first, subject_token_type=TXN, **WANTED)
    assert payload(access)["exp"] <= payload(first)["exp"]
    world.clock.at += 60
    return await exchange(world, None, None, subject_token=access)


async def a_quarantined_actor_that_is_two_exchanges_back(world: OAuthWorld) -> httpx.Response:
    from tests.compliance.test_txn_tokens import posture

    world.put(front(world, protects=[API, BACKEND]))
    access = await granted(world, svid(world), **WANTED)
    txn = await granted(world, None, None, subject_token=access)
    world.put(posture("agent", RESEARCHER, "quarantined"))
    return await exchange(world, None, None, subject_token=txn, subject_token_type=TXN, **WANTED)


async def an_access_token_of_a_token_for_a_tool(world: OAuthWorld) -> httpx.Response:
    """From a token that opens one tool follows none that opens a resource."""
    from tests.compliance.test_txn_tokens import call

    made = (await call(world)).json()["access_token"]
    world.put(client("researcher", world.keys["researcher"], spiffe_id=RESEARCHER, resources=[BACKEND]))
    return await exchange(world, None, None, "researcher", subject_token=made, subject_token_type=TXN, **WANTED)


async def a_token_for_a_resource_at_a_client_that_does_not_serve_it(world: OAuthWorld) -> httpx.Response:
    access = await granted(world, svid(world), **WANTED)
    return await exchange(world, None, None, "researcher", subject_token=access)


SCENARIOS: dict[Scenario, str] = {
    a_stolen_svid_at_a_client_without_actors: "actor_not_allowed",
    a_stolen_svid_of_a_neighbour: "actor_not_allowed",
    a_stolen_svid_of_a_higher_path: "actor_not_allowed",
    a_stolen_access_token_of_another_client: "actor_not_allowed",
    a_client_that_is_no_workload_as_anothers_actor: "actor_not_allowed",
    an_svid_from_the_bus: "actor_token_invalid",
    an_agent_bringing_a_stronger_one: "out_of_charter",
    an_agent_without_consent_bringing_one_that_has_it: "user_not_delegating",
    an_agent_with_consent_brought_by_a_client_for_one_that_has_none: "user_not_delegating",
    a_client_of_many_workloads_with_the_token_of_another: "actor_not_allowed",
    a_token_of_an_exchange_as_actor: "actor_token_invalid",
    a_transaction_token_as_actor: "actor_token_invalid",
    a_persons_token_as_actor: "actor_token_invalid",
    a_persons_jwt_as_actor: "actor_token_invalid",
    a_client_that_speaks_for_another: "actor_token_invalid",
    a_subject_that_lets_another_act: "actor_not_allowed",
    a_subject_that_lets_the_actor_act_without_its_token: "actor_not_allowed",
    a_subject_that_lets_a_namesake_act: "actor_not_allowed",
    a_subject_of_another_app_with_any_actor: "subject_token_invalid",
    a_subject_in_which_somebody_else_acts: "subject_token_invalid",
    wider_through_a_transaction_token: "out_of_subject_scope",
    other_details_by_changing_the_kind: "malformed",
    details_added_later_by_changing_the_kind: "malformed",
    more_tokens_than_its_record_allows_by_changing_the_kind: "chain_too_deep",
    longer_by_changing_the_kind: "subject_token_invalid",
    a_quarantined_actor_that_is_two_exchanges_back: "quarantined",
    an_access_token_of_a_token_for_a_tool: "resource_not_allowed",
    a_token_for_a_resource_at_a_client_that_does_not_serve_it: "subject_token_invalid",
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_an_actor_token_confuses_nobody(world: OAuthWorld, scenario: Scenario) -> None:
    """INVARIANT: no exchange gives more than client, actor, person and consent hold together, nor another's name (promise 3).

    Broken by any check that looks at one of them alone, or at a credential without asking whose it is.
    """
    begin(world)
    answer = await scenario(world)
    assert answer.status_code == 400, answer.text
    assert "access_token" not in answer.json()
    assert (await world.records())[-1]["data"]["reason"] == SCENARIOS[scenario]


async def test_the_honest_ways_are_open(world: OAuthWorld) -> None:
    """Or the refusals above would prove nothing; and on the longest way nobody is forgotten and nothing grows."""
    begin(world)
    world.put(front(world, protects=[API, BACKEND], replacements=4))
    subject: dict[str, Any] = {"subject_token": world.person(aud=API, act={"sub": "app"}), "subject_token_type": ACCESS}
    made: list[dict[str, Any]] = []
    for wanted, kind in ((WANTED, ACCESS), ({}, TXN), (WANTED, ACCESS), ({}, TXN)):
        token = await granted(world, svid(world) if not made else None, JWT if not made else None, **subject, **wanted)
        subject = {"subject_token": token, "subject_token_type": kind}
        made.append(payload(token))
    acts = made[-1]["act"]
    assert (acts["sub"], acts["act"]["sub"], acts["act"]["act"]) == (FRONT, RESEARCHER, {"sub": "app"})
    assert len({claims["txn"] for claims in made}) == 1
    assert [claims["exp"] for claims in made] == sorted((claims["exp"] for claims in made), reverse=True)
    assert [link["jti"] for link in made[-1]["req_chain"]] == [claims["jti"] for claims in made[:-1]]
