"""RFC 8693: token exchange, and which error answers which failure (specification sheet, section 9.4)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.compliance.test_txn_tokens import CALL, ask
from tests.support.identities import NOW, Signer
from tests.support.oauth import FRONT, PROVIDER, RESEARCHER, SEARCH, TXN, TYPE, OAuthWorld, client, payload

ACCESS = f"{TYPE}access_token"


async def test_2_2_1_what_is_issued_is_no_access_token_and_says_so(world: OAuthWorld) -> None:
    body = (await ask(world)).json()
    assert body["issued_token_type"] == TXN
    assert body["token_type"] == "N_A"
    assert body["expires_in"] == payload(body["access_token"])["exp"] - NOW
    assert body["scope"] == payload(body["access_token"])["scope"]


async def test_2_1_the_exchange_says_nothing_about_the_subject_token(world: OAuthWorld) -> None:
    """It may be exchanged again while it lives: the exchange neither uses it up nor extends it."""
    inbound = {"subject_token": world.person(aud="https://api.88mph.com"), "subject_token_type": ACCESS}
    first, second = await ask(world, **inbound), await ask(world, **inbound)
    assert (first.status_code, second.status_code) == (200, 200)
    assert payload(first.json()["access_token"])["txn"] != payload(second.json()["access_token"])["txn"]


@pytest.mark.parametrize("may_act", [{"sub": FRONT}, {"sub": FRONT, "iss": PROVIDER}])
async def test_4_4_may_act_names_who_may_present_it(world: OAuthWorld, may_act: dict[str, str]) -> None:
    answer = await ask(world, subject_token=world.person(client_id="app", may_act=may_act), subject_token_type=ACCESS)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "may_act", [{"sub": "somebody"}, {"sub": "front"}, {"sub": FRONT, "iss": "https://other"}, {"iss": PROVIDER}, "front", []]
)
async def test_4_4_and_nobody_else(world: OAuthWorld, may_act: Any) -> None:
    answer = await ask(world, subject_token=world.person(client_id="app", may_act=may_act), subject_token_type=ACCESS)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_4_1_an_actor_in_the_subject_token_is_the_client_or_nobody(world: OAuthWorld) -> None:
    own = world.person(client_id=FRONT, act={"sub": FRONT})
    assert (await ask(world, subject_token=own, subject_token_type=ACCESS)).status_code == 200
    other = world.person(client_id=FRONT, act={"sub": "other"})
    assert (await ask(world, subject_token=other, subject_token_type=ACCESS)).json()["error"] == "invalid_request"


@pytest.mark.parametrize("kind", ["id_token", "jwt"])
async def test_4_a_logout_token_is_nobodys_word(world: OAuthWorld, kind: str) -> None:
    """INVARIANT: a security event about a person is no subject token, though nothing but `events` tells it from one (RFC 8417 section 4.5).

    Broken by reading the claims that a subject token has and none besides.
    """
    shown = {"subject_token_type": f"{TYPE}{kind}", "scope": "web.search.execute"}
    plain: dict[str, Any] = {"typ": "JWT", "scope": "web.search.execute", "client_id": None}
    assert (await ask(world, subject_token=world.person(**plain), **shown)).status_code == 200
    events = {"http://schemas.openid.net/event/backchannel-logout": {}}
    answer = await ask(world, subject_token=world.person(events=events, **plain), **shown)
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"


ERRORS: dict[str, tuple[dict[str, Any], int, str]] = {
    "client not authenticated": ({"client_assertion": "a.b.c"}, 401, "invalid_client"),
    "client authenticated, may not use this": ({"subject_token_type": f"{TYPE}self_signed"}, 400, "unauthorized_client"),
    "subject token bad": ({"subject_token": "nonsense", "subject_token_type": ACCESS}, 400, "invalid_request"),
    "subject token of another type": ({"subject_token_type": ACCESS}, 400, "invalid_request"),
    "actor type without token": ({"actor_token_type": ACCESS}, 400, "invalid_request"),
    "unknown audience": ({"audience": "elsewhere.org"}, 400, "invalid_target"),
    "unknown resource": ({"resource": "https://elsewhere.org"}, 400, "invalid_target"),
    "resource with a fragment": ({"resource": f"{SEARCH}#x"}, 400, "invalid_target"),
    "scope malformed": ({"scope": "a\tb"}, 400, "invalid_scope"),
    "scope beyond the limit": ({"scope": "payments.all"}, 400, "invalid_scope"),
    "unknown grant": ({"grant_type": "urn:other"}, 400, "unsupported_grant_type"),
}


@pytest.mark.parametrize("what", ERRORS)
async def test_2_2_2_which_error_for_which_failure(world: OAuthWorld, what: str) -> None:
    ceilings = {"access_token": ["web.*"], "unsigned_json": ["web.*"]}
    world.put(client("front", world.keys["front"], spiffe_id=FRONT, ceilings=ceilings))
    changes, status, error = ERRORS[what]
    answer = await ask(world, **changes)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["cache-control"] == "no-store"


async def test_2_2_2_dpop_errors(world: OAuthWorld) -> None:
    answer = await ask(world, headers={"dpop": "nonsense"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")


async def test_2_2_2_an_expired_or_revoked_subject_is_invalid_request_and_not_invalid_grant(world: OAuthWorld) -> None:
    expired = await ask(world, subject_token=world.person(exp=NOW), subject_token_type=ACCESS)
    forged = await ask(world, subject_token=world.person(signer=Signer(kid="provider-1")), subject_token_type=ACCESS)
    assert [answer.json()["error"] for answer in (expired, forged)] == ["invalid_request"] * 2


async def test_2_1_the_proof_binds_the_issued_token_for_a_tool(world: OAuthWorld) -> None:
    """The gap of RFC 9449 with exchanges: the request's proof binds what is issued, and a key that signed the request is the next best."""
    details = json.dumps({"call": CALL})
    own = {"subject_token": json.dumps({"sub": RESEARCHER}), "resource": SEARCH, "request_details": details}
    bare = payload((await ask(world, "researcher", **own)).json()["access_token"])
    proven = payload((await ask(world, "researcher", headers={"dpop": world.proof()}, **own)).json()["access_token"])
    assert bare["cnf"] != proven["cnf"]
