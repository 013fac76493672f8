"""draft-ietf-oauth-transaction-tokens-10: the broker as a Transaction Token Service, for clients that are not on the bus."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from weft.digest import sha256, target_digest
from weft.dpop import thumbprint
from weft.errors import GuardReason, TokenRefused
from weft.nkey import KeyPair
from weft.token import verify_token

from schemas.approvals import Ask
from tests.support.certificates import Leaf
from tests.support.identities import Signer
from tests.support.oauth import (
    ADVISOR,
    ANY,
    FRONT,
    ISSUER,
    NOW,
    PROVIDER,
    RESEARCHER,
    SEARCH,
    TXN,
    TYPE,
    OAuthWorld,
    client,
    header,
    payload,
)
from workers.broker.oauth.certificates import x5t_of
from workers.broker.oauth.tools import instance_of
from workers.common.approvals import asked_digest

PARTNER = "https://login.partner.example"
CALL = {"method": "GET", "path": sha256("/q"), "body": sha256(b"")}


async def ask(world: OAuthWorld, name: str = "front", headers: dict[str, str] | None = None, **changes: Any) -> httpx.Response:
    return await world.post("/oauth/token", world.exchange(name, **changes), headers=headers or {})


async def token(world: OAuthWorld, name: str = "front", **changes: Any) -> str:
    answer = await ask(world, name, **changes)
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


async def refused(world: OAuthWorld, name: str = "front", **changes: Any) -> str:
    answer = await ask(world, name, **changes)
    assert answer.status_code in (400, 401), answer.text
    return answer.json()["error"]


# --- the token -----------------------------------------------------------------------------------------------------------------


async def test_form_of_the_token(world: OAuthWorld) -> None:
    made = await token(world, request_details=json.dumps({"ticket": "T-1"}), request_context=json.dumps({"req_ip": "203.0.113.9"}))
    assert header(made) == {"typ": "txntoken+jwt", "alg": "ES256", "kid": "tokens-1"}
    claims = payload(made)
    assert (claims["iss"], claims["aud"], claims["sub"], claims["scope"]) == (ISSUER, "88mph.com", "marty", "web.search.execute")
    assert claims["req_wl"] == FRONT
    assert claims["tctx"] == {"ticket": "T-1"}
    assert claims["rctx"] == {"req_ip": "203.0.113.9", "authn": "private_key_jwt", "client_id": "front", "peer": "127.0.0.1"}
    assert (claims["iat"], claims["exp"]) == (NOW, NOW + 60)
    assert claims["txn"] != claims["jti"]


async def test_response_members(world: OAuthWorld) -> None:
    body = (await ask(world)).json()
    assert (body["token_type"], body["issued_token_type"]) == ("N_A", TXN)
    assert (body["expires_in"], body["scope"]) == (60, "web.search.execute")
    assert "refresh_token" not in body


async def test_each_transaction_has_a_txn_of_its_own(world: OAuthWorld) -> None:
    assert payload(await token(world))["txn"] != payload(await token(world))["txn"]


async def test_the_service_is_authoritative_for_rctx(world: OAuthWorld) -> None:
    claims = payload(await token(world, request_context=json.dumps({"authn": "hwk", "client_id": "other", "peer": "10.0.0.1"})))
    assert claims["rctx"] == {"authn": "private_key_jwt", "client_id": "front", "peer": "127.0.0.1"}


async def test_the_inbound_token_is_in_no_part_of_the_new_one_nor_on_record(world: OAuthWorld) -> None:
    """INVARIANT: a subject token goes no further than this endpoint.

    Copying it into `rctx`, or recording the form, would hand a person's token to everyone who reads either.
    """
    inbound = world.person(aud="https://api.88mph.com")
    made = await token(world, subject_token=inbound, subject_token_type=f"{TYPE}access_token")
    assert inbound not in json.dumps(payload(made))
    assert inbound.split(".")[2] not in json.dumps(await world.records())


async def test_no_guard_takes_a_token_that_names_no_tool(world: OAuthWorld) -> None:
    """INVARIANT: a token of an exchange without a tool opens none: the guard's verifier wants a `call`.

    Filling one in, or a verifier that took its absence for "any", would turn a service's token into a key to every tool.
    """
    made = await token(world)
    keys = {"tokens-1": world.keys["tokens"].public}
    with pytest.raises(TokenRefused) as no:
        verify_token(made, keys, issuer=ISSUER, audiences=["88mph.com"], now=NOW)
    assert no.value.reason is GuardReason.MALFORMED


async def test_it_is_no_access_token_and_an_access_token_is_none_of_it(world: OAuthWorld) -> None:
    made = await token(world)
    assert await refused(world, subject_token=made, subject_token_type=f"{TYPE}access_token") == "invalid_request"
    answer = await world.post("/oauth/token", {"grant_type": "client_credentials", **world.proven("front"), "scope": "ssf.read"})
    assert await refused(world, subject_token=answer.json()["access_token"], subject_token_type=TXN) == "invalid_request"


# --- the request ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"requested_token_type": None}, "invalid_target"),
        ({"requested_token_type": f"{TYPE}access_token"}, "invalid_target"),
        ({"requested_token_type": f"{TYPE}id_token"}, "invalid_request"),
        ({"requested_token_type": "txn_token"}, "invalid_request"),
        ({"requested_token_type": f"{TYPE}refresh_token"}, "invalid_request"),
        ({"audience": None}, "invalid_target"),
        ({"audience": "other.org"}, "invalid_target"),
        ({"audience": ISSUER}, "invalid_target"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "web.*"}, "invalid_scope"),
        ({"scope": "payments.all"}, "invalid_scope"),
        ({"subject_token": None}, "invalid_request"),
        ({"subject_token_type": None}, "invalid_request"),
        ({"subject_token_type": f"{TYPE}refresh_token"}, "invalid_request"),
        ({"subject_token_type": f"{TYPE}saml2"}, "invalid_request"),
        ({"subject_token_type": "unsigned_json"}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"actor_token": "x", "actor_token_type": f"{TYPE}jwt"}, "invalid_request"),
        ({"actor_token_type": f"{TYPE}jwt"}, "invalid_request"),
        ({"request_details": "[]"}, "invalid_request"),
        ({"request_details": "eyJhIjoxfQ"}, "invalid_request"),
        ({"request_details": '{"a":1,"a":2}'}, "invalid_request"),
        ({"request_details": '{"a":"\\ud800"}'}, "invalid_request"),
        ({"request_details": '{"a":' * 9 + "1" + "}" * 9}, "invalid_request"),
        ({"request_context": json.dumps({"a": "b" * 2100})}, "invalid_request"),
        ({"resource": "https://nowhere.example"}, "invalid_target"),
    ],
)
async def test_requests_that_are_refused(world: OAuthWorld, changes: dict[str, Any], error: str) -> None:
    assert await refused(world, **changes) == error


async def test_two_audiences_or_two_tools_are_refused(world: OAuthWorld) -> None:
    for extra in (("audience", "other.org"), ("resource", "https://a.example")):
        form = [*world.exchange(resource="https://b.example").items(), extra]
        assert (await world.post("/oauth/token", form)).json()["error"] == "invalid_target"


# --- subject tokens ---------------------------------------------------------------------------------------------------------------


async def test_access_token_by_its_client(world: OAuthWorld) -> None:
    world.put({"kind": "relation", "subject": "user:marty", "relation": "delegates_to", "object": f"agent:{RESEARCHER}"})
    claims = payload(await token(world, "researcher", subject_token=world.person(), subject_token_type=f"{TYPE}access_token"))
    assert (claims["sub"], claims["req_wl"]) == ("marty", RESEARCHER)


async def test_access_token_for_a_resource_that_the_client_serves(world: OAuthWorld) -> None:
    inbound = world.person(aud="https://api.88mph.com", client_id="some-app")
    assert payload(await token(world, subject_token=inbound, subject_token_type=f"{TYPE}access_token"))["sub"] == "marty"


ACCESS_REFUSED: dict[str, dict[str, Any]] = {
    "for nobody here": {"client_id": "some-app"},
    "for another resource": {"aud": "https://other.88mph.com", "client_id": "some-app"},
    "of another provider": {"iss": "https://other"},
    "of an unknown key": {"signer": Signer(kid="provider-1")},
    "expired": {"exp": NOW},
    "of another type": {"typ": "JWT"},
    "an id token": {"typ": "id+jwt"},
    "without jti": {"jti": None},
    "without sub": {"sub": None},
    "of another workload": {"sub": ADVISOR, "client_id": FRONT},
    "of another client": {"sub": "console", "client_id": FRONT},
    "of a client that has this name elsewhere": {"client_id": "front"},
    "in which somebody else acts": {"client_id": FRONT, "act": {"sub": "spiffe://88mph.com/agents/thief"}},
    "bound to a key that was not shown": {"client_id": FRONT, "cnf": {"jkt": "a" * 43}},
}


@pytest.mark.parametrize("what", ACCESS_REFUSED)
async def test_access_tokens_that_are_refused(world: OAuthWorld, what: str) -> None:
    inbound = world.person(**ACCESS_REFUSED[what])
    assert await refused(world, subject_token=inbound, subject_token_type=f"{TYPE}access_token") == "invalid_request"


def partner(world: OAuthWorld, **changes: Any) -> None:
    """A second provider, which knows somebody as `marty` too."""
    fact = {"kind": "issuer", "iss": PARTNER, "aud": "https://fabric.88mph.com", "jwks": {"keys": [world.keys["other"].jwk]}}
    world.put({**fact, "namespace": "partner", **changes})


def of_partner(world: OAuthWorld, type_: str, **changes: Any) -> dict[str, Any]:
    """A subject token of that provider."""
    claims = {"iss": PARTNER, "sub": "marty", "client_id": FRONT, **changes}
    if type_ == "access_token":
        made = world.person(signer=world.keys["other"], **claims)
    else:
        made = world.person(signer=world.keys["other"], typ="JWT", **claims)
    return {"subject_token": made, "subject_token_type": f"{TYPE}{type_}"}


PROVIDERS_TYPES = ("access_token", "id_token", "jwt")


@pytest.mark.parametrize("type_", PROVIDERS_TYPES)
async def test_sub_is_unique_within_the_trust_domain(world: OAuthWorld, type_: str) -> None:
    """INVARIANT: section 1.4, item 4 of our sheet: the service MUST ensure that `sub` is unique within the trust domain.

    Broken by copying `sub`, which is unique at its provider alone: the second provider's marty would be the first one's.
    """
    partner(world)
    assert await refused(world, **of_partner(world, type_)) == "invalid_request", "marty is known to the graph, partner::marty is not"
    world.put({"kind": "relation", "subject": "user:partner::marty", "relation": "member_of", "object": "team:partners"})
    assert payload(await token(world, **of_partner(world, type_)))["sub"] == "partner::marty"
    first = {"subject_token": world.person(client_id=FRONT), "subject_token_type": f"{TYPE}access_token"}
    assert payload(await token(world, **first))["sub"] == "marty"


@pytest.mark.parametrize("type_", PROVIDERS_TYPES)
async def test_no_sub_reaches_into_another_providers_people(world: OAuthWorld, type_: str) -> None:
    partner(world)
    world.put({"kind": "relation", "subject": "user:partner::marty", "relation": "member_of", "object": "team:partners"})
    claims = {"client_id": FRONT, "sub": "partner::marty"}
    made = world.person(**claims) if type_ == "access_token" else world.person(typ="JWT", **claims)
    assert await refused(world, subject_token=made, subject_token_type=f"{TYPE}{type_}") == "invalid_request"
    assert await refused(world, subject_token=json.dumps({"sub": "partner::marty"})) == "invalid_request", "nor does a client's own word"


@pytest.mark.parametrize("type_", PROVIDERS_TYPES)
async def test_providers_whose_people_cannot_be_told_apart(world: OAuthWorld, type_: str) -> None:
    partner(world, namespace="")
    assert await refused(world, **of_partner(world, type_)) == "invalid_request"
    assert await refused(world, subject_token=world.person(client_id=FRONT), subject_token_type=f"{TYPE}access_token") == "invalid_request"
    partner(world, namespace="", same_people_as=PROVIDER)
    assert payload(await token(world, **of_partner(world, type_)))["sub"] == "marty"


async def test_a_clients_own_word_names_people_of_the_provider_that_its_fact_names(world: OAuthWorld) -> None:
    partner(world)
    world.put({"kind": "relation", "subject": "user:partner::marty", "relation": "member_of", "object": "team:partners"})
    assert payload(await token(world))["sub"] == "marty"
    front = client("front", world.keys["front"], spiffe_id=FRONT)
    world.put({**front, "people": PARTNER})
    assert payload(await token(world))["sub"] == "partner::marty"
    assert payload(await token(world, subject_token=json.dumps({"sub": FRONT})))["sub"] == FRONT, "itself"
    assert await refused(world, subject_token=json.dumps({"sub": RESEARCHER})) == "invalid_request"
    world.put({**front, "people": "https://gone.example"})
    assert await refused(world) == "invalid_request"


async def test_scope_is_never_more_than_the_subject_tokens(world: OAuthWorld) -> None:
    """INVARIANT: granted scope is within the subject token's scope and within the client's ceiling for its type.

    Asking one of the two alone would let a wide client use a narrow token, or a narrow client a wide one.
    """
    inbound = {"subject_token_type": f"{TYPE}access_token"}
    narrow = world.person(aud="https://api.88mph.com", scope="web.search.execute")
    assert await token(world, **inbound, subject_token=narrow)
    assert await refused(world, **inbound, subject_token=narrow, scope="process.refund") == "invalid_scope"
    assert await refused(world, **inbound, subject_token=narrow, scope="web.search.execute process.refund") == "invalid_scope"
    nothing = world.person(aud="https://api.88mph.com", scope="")
    assert await refused(world, **inbound, subject_token=nothing) == "invalid_scope"
    world.put(
        client("front", world.keys["front"], spiffe_id=FRONT, protects=["https://api.88mph.com"], ceilings={"access_token": ["other"]})
    )
    assert await refused(world, **inbound, subject_token=narrow) == "invalid_scope"


async def test_a_token_of_unknown_scope_needs_a_ceiling(world: OAuthWorld) -> None:
    """INVARIANT: unknown scope is never taken for unconstrained (section 1.4, step 7 of our sheet).

    A type without a ceiling among the client's is refused, before the token is looked at.
    """
    for type_ in ANY:
        ceilings = {name: scopes for name, scopes in ANY.items() if name != type_}
        world.put(client("front", world.keys["front"], spiffe_id=FRONT, ceilings=ceilings))
        assert await refused(world, subject_token_type=f"{TYPE}{type_}") == "unauthorized_client"


@pytest.mark.parametrize("changes", [{"aud": FRONT}, {"aud": "https://fabric.88mph.com"}, {"aud": [FRONT, "x"], "azp": FRONT}])
async def test_id_tokens(world: OAuthWorld, changes: dict[str, Any]) -> None:
    inbound = world.person(typ="JWT", client_id=None, scope=None, **changes)
    assert payload(await token(world, subject_token=inbound, subject_token_type=f"{TYPE}id_token"))["sub"] == "marty"


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"},
        {"aud": "front"},
        {"aud": [FRONT, "x"]},
        {"aud": "https://fabric.88mph.com", "azp": "another-app"},
        {"aud": FRONT, "act": {"sub": "spiffe://88mph.com/agents/thief"}},
        {"aud": FRONT, "cnf": {"jkt": "a" * 43}},
        {"aud": [FRONT, "x"], "azp": "x"},
        {"aud": FRONT, "typ": "at+jwt"},
        {"aud": FRONT, "exp": NOW},
    ],
)
async def test_id_tokens_that_are_refused(world: OAuthWorld, changes: dict[str, Any]) -> None:
    inbound = world.person(**{"typ": "JWT", "client_id": None, **changes})
    assert await refused(world, subject_token=inbound, subject_token_type=f"{TYPE}id_token") == "invalid_request"


async def test_jwts_of_a_provider(world: OAuthWorld) -> None:
    inbound = world.person(typ="JWT", aud=ISSUER, scope=None)
    assert await token(world, subject_token=inbound, subject_token_type=f"{TYPE}jwt")
    scoped = world.person(typ="JWT", scope="other")
    assert await refused(world, subject_token=scoped, subject_token_type=f"{TYPE}jwt") == "invalid_scope"
    for changes in ({"aud": "https://other"}, {"act": {"sub": "somebody"}}, {"cnf": {"jkt": "a" * 43}}):
        held = world.person(**{"typ": "JWT", "aud": ISSUER, "scope": None, **changes})
        assert await refused(world, subject_token=held, subject_token_type=f"{TYPE}jwt") == "invalid_request"
    elsewhere = world.person(typ="JWT", aud="https://other")
    assert await refused(world, subject_token=elsewhere, subject_token_type=f"{TYPE}jwt") == "invalid_request"


def self_signed(world: OAuthWorld, signer: Signer | None = None, typ: str | None = "JWT", **changes: Any) -> str:
    good = {"iss": FRONT, "sub": "marty", "aud": ISSUER, "iat": NOW, "exp": NOW + 60}
    claims = {name: value for name, value in {**good, **changes}.items() if value is not None}
    return (signer or world.keys["front"]).sign(claims, typ=typ)


@pytest.mark.parametrize("changes", [{}, {"iss": "front"}, {"sub": FRONT}, {"sub": "front"}, {"extra": 1}])
async def test_self_signed(world: OAuthWorld, changes: dict[str, Any]) -> None:
    inbound = self_signed(world, **changes)
    made = payload(await token(world, subject_token=inbound, subject_token_type=f"{TYPE}self_signed"))
    assert made["sub"] == changes.get("sub", "marty")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "88mph.com"},
        {"aud": [ISSUER, "x"]},
        {"aud": None},
        {"iss": "researcher"},
        {"iss": None},
        {"sub": None},
        {"sub": ADVISOR},
        {"sub": "console"},
        {"sub": "with space"},
        {"exp": NOW},
        {"exp": None},
        {"iat": NOW - 306},
        {"iat": NOW + 60},
        {"iat": None},
        {"signer": Signer(kid="front-1")},
        {"typ": "at+jwt"},
        {"typ": "client-authentication+jwt"},
    ],
)
async def test_self_signed_that_is_refused(world: OAuthWorld, changes: dict[str, Any]) -> None:
    inbound = self_signed(world, **changes)
    assert await refused(world, subject_token=inbound, subject_token_type=f"{TYPE}self_signed") == "invalid_request"


@pytest.mark.parametrize(
    "subject", ["[]", "{}", '{"sub":1}', '{"sub":"a","sub":"b"}', '{"sub":""}', "x", '{"sub":"%s"}' % ("a" * 600), '{"sub":"a b"}']
)
async def test_unsigned_json_that_is_refused(world: OAuthWorld, subject: str) -> None:
    assert await refused(world, subject_token=subject) == "invalid_request"


async def test_unsigned_json_may_hold_more(world: OAuthWorld) -> None:
    assert payload(await token(world, subject_token='{"sub":"marty","email":"m@88mph.com"}'))["sub"] == "marty"


async def own_access_token(world: OAuthWorld, name: str = "researcher", **form: str) -> str:
    """Of client_credentials, for the fabric itself or a resource."""
    answer = await world.post(
        "/oauth/token", {"grant_type": "client_credentials", **world.proven(name), "scope": "web.search.execute", **form}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


async def test_an_access_token_of_ours_is_the_first_link_of_the_chain(world: OAuthWorld) -> None:
    inbound = await own_access_token(world, resource="https://api.88mph.com")
    claims = payload(await token(world, subject_token=inbound, subject_token_type=f"{TYPE}access_token"))
    assert claims["req_chain"] == [{"wl": RESEARCHER, "jti": payload(inbound)["jti"], "iat": NOW}]
    assert claims["sub"] == "researcher"
    world.revocations.hit.add(target_digest("token", payload(inbound)["jti"]))
    assert await refused(world, subject_token=inbound, subject_token_type=f"{TYPE}access_token") == "invalid_request"


async def test_an_access_token_of_another_client_is_nobody_elses_to_exchange(world: OAuthWorld) -> None:
    """INVARIANT: a client exchanges its own access token, or one that was meant for a resource it serves; no other that it came by.

    The fabric is the audience of most of them, so that asking for the audience alone would let every client act as every other.
    """
    inbound = {"subject_token": await own_access_token(world), "subject_token_type": f"{TYPE}access_token"}
    assert await refused(world, **inbound) == "invalid_request"
    assert await token(world, "researcher", **inbound)


async def test_a_token_for_one_call_is_a_leaf(world: OAuthWorld) -> None:
    """Verifies that who was called with an access token gets nothing for it, though the call was meant for a resource it serves."""
    made = payload((await call(world)).json()["access_token"])
    act = {"sub": RESEARCHER, "instance": made["act"]["instance"]}
    leaf = {"client_id": RESEARCHER, "sub": "marty", "aud": "https://api.88mph.com", "act": act, "call": made["call"]}
    claims = {name: made[name] for name in ("iss", "iat", "exp", "jti", "txn", "rev", "facts", "purp", "req_wl")}
    inbound = world.own({**claims, **leaf, "scope": "web.search.execute"}, "at+jwt")
    assert await refused(world, subject_token=inbound, subject_token_type=f"{TYPE}access_token") == "invalid_request"


# --- processing ---------------------------------------------------------------------------------------------------------------------


async def test_it_outlives_no_subject_token(world: OAuthWorld) -> None:
    short = world.person(aud="https://api.88mph.com", exp=NOW + 20)
    assert payload(await token(world, subject_token=short, subject_token_type=f"{TYPE}access_token"))["exp"] == NOW + 20


def posture(scope: str, value: str, level: str, **more: Any) -> dict[str, Any]:
    target = target_digest(scope, value)  # type: ignore[arg-type]
    return {"kind": "posture", "scope": scope, "target": target, "level": level, "causes": [], **more}


@pytest.mark.parametrize(
    ("fact", "error"),
    [
        (posture("user", "marty", "quarantined"), "unauthorized_client"),
        (posture("agent", FRONT, "quarantined"), "unauthorized_client"),
        (posture("namespace", "spiffe://88mph.com", "step_up"), "unauthorized_client"),
        (posture("user", "marty", "narrowed", purposes=["other"]), "unauthorized_client"),
        ({"kind": "namespace", "prefix": "spiffe://88mph.com/services", "owner": "o", "bounds": {"purposes": ["other"]}}, "invalid_scope"),
    ],
)
async def test_posture_and_bounds_are_asked(world: OAuthWorld, fact: dict[str, Any], error: str) -> None:
    """INVARIANT: whoever is quarantined, narrowed or bounded on the bus is so at this endpoint.

    A face of its own with rules of its own would be the way around every response to a signal.
    """
    assert await token(world)
    world.put(fact)
    assert await refused(world) == error


async def test_a_person_whom_the_graph_does_not_know_has_no_rights(world: OAuthWorld) -> None:
    assert await refused(world, subject_token='{"sub":"biff"}') == "invalid_request"


async def test_an_agent_acts_only_for_who_lets_it(world: OAuthWorld) -> None:
    inbound = {"subject_token": world.person(), "subject_token_type": f"{TYPE}access_token"}
    assert await refused(world, "researcher", **inbound) == "invalid_request"


async def test_an_agents_charter_bounds_its_scope(world: OAuthWorld) -> None:
    inbound = {"subject_token": json.dumps({"sub": RESEARCHER})}
    assert await token(world, "researcher", **inbound)
    assert await refused(world, "researcher", **inbound, scope="process.refund") == "invalid_scope"


async def test_a_suspended_agent_gets_nothing(world: OAuthWorld) -> None:
    from tests.support import world as small

    world.put({**small.bodies()["researcher"], "state": "suspended"})
    assert await refused(world, "researcher", subject_token=json.dumps({"sub": RESEARCHER})) == "unauthorized_client"


# --- replacement ----------------------------------------------------------------------------------------------------------------------


async def replaced(world: OAuthWorld, old: str, name: str = "front", **changes: Any) -> str:
    return await token(world, name, subject_token=old, subject_token_type=TXN, **changes)


async def test_a_replacement_keeps_what_must_stay(world: OAuthWorld) -> None:
    old = await token(world, request_details='{"ticket":"T-1"}', request_context='{"req_ip":"203.0.113.9"}')
    new, before = payload(await replaced(world, old)), payload(old)
    for name in ("txn", "sub", "aud", "tctx"):
        assert new[name] == before[name]
    assert new["jti"] != before["jti"]
    assert new["rctx"]["req_ip"] == "203.0.113.9"
    assert new["req_chain"] == [{"wl": FRONT, "jti": before["jti"], "iat": NOW}]


async def test_a_replacement_by_another_workload_names_it_and_keeps_the_chain(world: OAuthWorld) -> None:
    world.put({"kind": "relation", "subject": "user:marty", "relation": "delegates_to", "object": f"agent:{RESEARCHER}"})
    old = await token(world)
    new = payload(await replaced(world, old, "researcher"))
    assert new["req_wl"] == RESEARCHER
    assert [link["wl"] for link in new["req_chain"]] == [FRONT]


async def test_a_replacement_only_narrows(world: OAuthWorld) -> None:
    """INVARIANT: a replacement token allows no more than the one it replaces, and lives no longer.

    Taking the client's ceiling instead of the old token's scope would let any holder widen a transaction.
    """
    wide = await token(world, scope="web.search.execute process.refund")
    narrow = await replaced(world, wide)
    assert await refused(world, subject_token=narrow, subject_token_type=TXN, scope="process.refund") == "invalid_scope"
    world.clock.at += 30
    assert payload(await replaced(world, narrow))["exp"] == NOW + 60
    assert await refused(world, subject_token=narrow, subject_token_type=TXN, request_details='{"a":1}') == "invalid_request"


async def test_replacements_are_counted(world: OAuthWorld) -> None:
    one = await replaced(world, await token(world))
    two = await replaced(world, one)
    assert len(payload(two)["req_chain"]) == 2
    assert await refused(world, subject_token=two, subject_token_type=TXN) == "invalid_request"


async def test_an_expired_or_revoked_token_is_not_replaced(world: OAuthWorld) -> None:
    old = await token(world)
    between = await replaced(world, old)
    world.revocations.hit.add(target_digest("token", payload(old)["jti"]))
    for each in (old, between):
        assert await refused(world, subject_token=each, subject_token_type=TXN) == "invalid_request", "its descendants end with it"
    world.revocations.hit.clear()
    world.clock.at += 60
    assert await refused(world, subject_token=old, subject_token_type=TXN) == "invalid_request"


@pytest.mark.parametrize("changes", [{"aud": "other.org"}, {"iss": "https://other"}, {"exp": NOW + 301}, {"txn": None}, {"admin": True}])
async def test_a_token_that_we_would_not_issue_is_not_replaced(world: OAuthWorld, changes: dict[str, Any]) -> None:
    old = payload(await token(world))
    forged = world.own({name: value for name, value in {**old, **changes}.items() if value is not None})
    assert await refused(world, subject_token=forged, subject_token_type=TXN) == "invalid_request"


async def test_a_token_signed_by_anybody_is_not_replaced(world: OAuthWorld) -> None:
    forged = Signer(kid="tokens-1").sign(payload(await token(world)), typ="txntoken+jwt")
    assert await refused(world, subject_token=forged, subject_token_type=TXN) == "invalid_request"


async def test_a_bound_token_is_continued_by_who_shows_its_key(world: OAuthWorld) -> None:
    """INVARIANT: a Transaction Token that is bound to a key (RFC 7800 section 3) is continued by who shows that very key, alone.

    No guard ever takes one without a tool, so the exchange is where its binding counts: without the check a copy is as good as the token.
    """
    made = await ask(world, headers={"dpop": world.proof()})
    old = made.json()["access_token"]
    assert payload(old)["cnf"] == {"jkt": thumbprint(world.keys["other"].jwk)}
    going_on = {"subject_token": old, "subject_token_type": TXN}
    world.put({"kind": "relation", "subject": "user:marty", "relation": "delegates_to", "object": f"agent:{RESEARCHER}"})
    for name in ("front", "researcher"):
        assert await refused(world, name, **going_on) == "invalid_request", "the assertion's key is another"
        other = await ask(world, name, {"dpop": world.proof(signer=Signer(kid="thief"))}, **going_on)
        assert (other.status_code, other.json()["error"]) == (400, "invalid_request")
        assert (await ask(world, name, {"dpop": world.proof()}, **going_on)).status_code == 200


async def test_a_certificate_bound_token_is_continued_over_a_connection_with_it(world: OAuthWorld) -> None:
    """RFC 8705 section 3: the same for `x5t#S256`; a DPoP proof by any key does not replace the certificate."""
    world.put(client("front", world.keys["front"], spiffe_id=FRONT, certificate_bound=True))
    own, other = Leaf(), Leaf()
    world.certificate = own.presented("ca")
    old = await token(world)
    assert payload(old)["cnf"] == {"x5t#S256": x5t_of(own.der)}
    going_on = {"subject_token": old, "subject_token_type": TXN}
    assert (await ask(world, **going_on)).status_code == 200
    world.certificate = other.presented("ca")
    assert await refused(world, **going_on) == "invalid_request"
    world.certificate = None
    answer = await ask(world, headers={"dpop": world.proof()}, **going_on)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("scope", ["transaction", "agent"])
async def test_a_quarantine_of_the_transaction_or_of_who_handed_it_on_ends_it(world: OAuthWorld, scope: str) -> None:
    """INVARIANT: no replacement continues a transaction that is quarantined, or that a quarantined workload handed on.

    Broken by asking for the posture of the client and the person alone: what the revocation did not hit, a replacement would renew.
    """
    old = await token(world)
    assert (await ask(world, subject_token=old, subject_token_type=TXN)).status_code == 200
    value = payload(old)["txn"] if scope == "transaction" else FRONT
    target = target_digest("transaction" if scope == "transaction" else "agent", value)
    world.put({"kind": "posture", "scope": scope, "target": target, "value": value, "level": "quarantined", "causes": []})
    world.put({"kind": "relation", "subject": "user:marty", "relation": "delegates_to", "object": f"agent:{RESEARCHER}"})
    assert (await ask(world, "researcher", subject_token=old, subject_token_type=TXN)).status_code == 400


# --- for a tool ----------------------------------------------------------------------------------------------------------------------


async def call(world: OAuthWorld, name: str = "researcher", **changes: Any) -> httpx.Response:
    """The researcher's own search, off the bus."""
    details = changes.pop("details", {"call": CALL})
    own = {"subject_token": json.dumps({"sub": RESEARCHER}), "resource": SEARCH, "request_details": json.dumps(details)}
    return await ask(world, name, **{**own, **changes})


async def test_a_tool_that_is_named_gives_a_token_that_its_guard_takes(world: OAuthWorld) -> None:
    answer = await call(world)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["token_type"], body["issued_token_type"], body["endpoint"]) == ("N_A", TXN, "http://127.0.0.1:9004")
    keys = {"tokens-1": world.keys["tokens"].public}
    verified = verify_token(body["access_token"], keys, issuer=ISSUER, audiences=["88mph.com"], now=NOW)
    assert (verified.call.tool, verified.call.actions, verified.act.sub, verified.sub) == (
        "web-search",
        ("search",),
        RESEARCHER,
        RESEARCHER,
    )
    assert verified.req_wl == RESEARCHER
    (event,) = await world.records()
    assert event["type"] == "org.weft.record.issued.v1"
    assert event["data"]["exchange"]["decision"]["outcome"] == "allow"


async def test_for_a_person_their_rights_are_asked(world: OAuthWorld) -> None:
    """INVARIANT: with a tool named, the decision engine decides as for any invocation: the person's rights, the graph, the charter.

    A token endpoint that minted for a tool on the client's word would be the confused deputy in person.
    """
    inbound = {"subject_token": world.person(), "subject_token_type": f"{TYPE}access_token"}
    assert (await call(world, **inbound)).json()["error"] == "invalid_request", "nobody lets it act"
    world.put({"kind": "relation", "subject": "user:marty", "relation": "delegates_to", "object": f"agent:{RESEARCHER}"})
    assert (await call(world, **inbound)).json()["error"] == "invalid_target", "marty operates no search"
    world.put({"kind": "relation", "subject": "user:marty", "relation": "operates", "object": "toolgroup:search"})
    answer = await call(world, **inbound)
    assert payload(answer.json()["access_token"])["sub"] == "marty"


async def test_an_unknown_tool_and_a_forbidden_one_are_one_answer(world: OAuthWorld) -> None:
    forbidden = await call(world, resource="https://payments.88mph.com")
    unknown = await call(world, resource="https://nowhere.88mph.com")
    assert (forbidden.status_code, forbidden.json()) == (unknown.status_code, unknown.json())
    assert forbidden.json()["error"] == "invalid_target"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"scope": "web.search.execute web.search.read"}, "invalid_scope"),
        ({"details": {}}, "invalid_target"),
        ({"details": {"call": CALL, "more": 1}}, "invalid_request"),
        ({"details": {"call": CALL, "actions": []}}, "invalid_request"),
        ({"details": {"call": CALL, "actions": ["drop"]}}, "invalid_target"),
        ({"details": {"call": CALL, "evidence": [1]}}, "invalid_request"),
    ],
)
async def test_calls_that_are_refused(world: OAuthWorld, changes: dict[str, Any], error: str) -> None:
    assert (await call(world, **changes)).json()["error"] == error


async def test_a_service_that_is_no_agent_calls_no_tool(world: OAuthWorld) -> None:
    assert (await call(world, "front", subject_token=json.dumps({"sub": FRONT}))).json()["error"] == "invalid_target"
    world.put(client("plain", world.keys["console"]))
    form = {**world.exchange("none"), **world.proven("plain", signer=world.keys["console"]), "resource": SEARCH}
    assert (await world.post("/oauth/token", {**form, "subject_token": '{"sub":"plain"}'})).json()["error"] == "unauthorized_client"


async def test_a_bearer_identity_proves_a_key_for_a_call(world: OAuthWorld) -> None:
    """A JWT-SVID shows no key, and a token for a call is bound to one: a DPoP proof names it."""
    form = world.exchange("none", subject_token=json.dumps({"sub": RESEARCHER}))
    form |= {**world.svid(), "resource": SEARCH, "request_details": json.dumps({"call": CALL})}
    assert (await world.post("/oauth/token", form)).json()["error"] == "invalid_dpop_proof"
    answer = await world.post("/oauth/token", form, headers={"dpop": world.proof()})
    claims = payload(answer.json()["access_token"])
    assert claims["act"]["instance"] == "i" + "a" * 26
    assert claims["rctx"]["authn"] == "spiffe_jwt"


async def test_a_transaction_without_a_tool_goes_on_with_one(world: OAuthWorld) -> None:
    """The front door begins it for marty; an agent continues it: the root's scope bounds what follows, and its end ends all."""
    world.put({"kind": "relation", "subject": "user:marty", "relation": "delegates_to", "object": f"agent:{RESEARCHER}"})
    world.put({"kind": "relation", "subject": "user:marty", "relation": "operates", "object": "toolgroup:search"})
    root = await token(world)
    answer = await call(world, subject_token=root, subject_token_type=TXN)
    claims = payload(answer.json()["access_token"])
    assert (claims["txn"], claims["sub"]) == (payload(root)["txn"], "marty")
    assert claims["req_chain"] == [{"wl": FRONT, "jti": payload(root)["jti"], "iat": NOW}]
    keys = {"tokens-1": world.keys["tokens"].public}
    verified = verify_token(answer.json()["access_token"], keys, issuer=ISSUER, audiences=["88mph.com"], now=NOW)
    assert target_digest("token", payload(root)["jti"]) in verified.targets
    assert claims["tctx"]["purposes"] == ["web.search.execute"]


async def test_a_token_for_a_tool_is_continued_by_whom_it_is_addressed_to(world: OAuthWorld) -> None:
    made = (await call(world)).json()["access_token"]
    again = await call(world, subject_token=made, subject_token_type=TXN, resource=None)
    assert again.status_code == 200, again.text
    assert payload(again.json()["access_token"])["txn"] == payload(made)["txn"]
    assert await refused(world, subject_token=made, subject_token_type=TXN) == "invalid_request", "front is neither"


async def test_no_approval_opens_a_call_here(world: OAuthWorld) -> None:
    """INVARIANT: an approval is good for one signed request; the token endpoint takes none, however often it is asked.

    Broken by handing out what the decision allows: here nobody spends the approval, and each request would get a token for it.
    """
    made = payload((await call(world)).json()["access_token"])
    handed = {
        **made,
        "call": {**made["call"], "workload": RESEARCHER},
        "act": {**made["act"], "sub": ADVISOR, "instance": "i" + "b" * 26},
        "tctx": {**made["tctx"], "tools": ["*"], "actions": ["*"], "purposes": ["*"], "depth": 3},
        "sub": RESEARCHER,
    }
    continued = {"subject_token": world.own(handed), "subject_token_type": TXN}
    assert (await call(world, **continued)).status_code == 200
    doc = KeyPair("U").public
    world.put({"kind": "person", "nkey": doc, "name": "doc", "roles": [{"role": "approver", "namespace": "spiffe://88mph.com"}]})
    target = target_digest("agent", ADVISOR)
    world.put({"kind": "posture", "scope": "agent", "target": target, "value": ADVISOR, "level": "step_up", "causes": []})
    about = {"agent": RESEARCHER, "instance": instance_of("researcher"), "tool": "web-search", "actions": ("search",), "call": CALL}
    asked = Ask.model_validate({**about, "purpose": "web.search.execute", "explanation": "e", "caller": "c"}, strict=False)
    given = asked.plain() | {"kind": "approval", "slot": 0, "id": "a1", "digest": asked_digest(asked), "state": "approved", "by": doc}
    del given["caller"]
    world.put({**given, "at": NOW, "asked_at": NOW, "expires_at": NOW + 100})
    answer = await call(world, **continued)
    assert answer.status_code == 400, "it would be handed out again and again"
    assert (await world.records())[-1]["data"]["reason"] == "step_up_required"


async def test_grant_types_are_the_clients(world: OAuthWorld) -> None:
    world.put(client("front", world.keys["front"], spiffe_id=FRONT, grant_types=["client_credentials"]))
    assert await refused(world) == "unauthorized_client"
