"""RFC 8693 sections 2.1, 2.2 and 4: access tokens by token exchange, for a person, in RFC 9068's form; RFC 8707 targets, RFC 9396 details.

For a resource of the client's record, or for one call of a tool whose record takes access tokens.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from weft.accesstoken import parse_access_claims
from weft.digest import target_digest

from tests.compliance.test_txn_tokens import CALL
from tests.support import world as small
from tests.support.acting import ACCESS, API, JWT, begin, consent, exchange, front, granted, own_token, refused, self_signed, svid
from tests.support.identities import NOW
from tests.support.oauth import ADVISOR, FRONT, ISSUER, RESEARCHER, SEARCH, TXN, TYPE, OAuthWorld, client, header, payload
from workers.signals.transmitter.authorizing import TokenAuthorizer
from workers.signals.transmitter.outcome import Rejected

BACKEND = "https://backend.88mph.com"
WANTED: dict[str, Any] = {"requested_token_type": ACCESS, "audience": None, "resource": BACKEND}
DETAIL = {"type": "urn:88mph:search", "actions": ["search"], "locations": [SEARCH], "identifier": "index-1"}
SEARCH_TOOL = small.bodies()["web-search"]


@pytest.fixture
def town(world: OAuthWorld) -> OAuthWorld:
    begin(world)
    return world


async def look(world: OAuthWorld, token: str, name: str = "front") -> dict[str, Any]:
    answer = await world.post("/oauth/introspect", {**world.proven(name), "token": token})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


# --- for a resource -------------------------------------------------------------------------------------------------------------------


async def test_2_2_1_the_answer(town: OAuthWorld) -> None:
    answer = await exchange(town, svid(town), **WANTED)
    body = answer.json()
    assert (body["issued_token_type"], body["token_type"], body["scope"]) == (ACCESS, "Bearer", "web.search.execute")
    assert body["expires_in"] == payload(body["access_token"])["exp"] - NOW
    assert "refresh_token" not in body
    assert answer.headers["cache-control"] == "no-store"


async def test_9068_2_2_the_token(town: OAuthWorld) -> None:
    made = await granted(town, svid(town), **WANTED)
    assert header(made) == {"typ": "at+jwt", "alg": "ES256", "kid": "tokens-1"}
    claims = payload(made)
    assert (claims["iss"], claims["aud"], claims["sub"], claims["client_id"]) == (ISSUER, BACKEND, "marty", "front")
    assert (claims["scope"], claims["iat"], claims["exp"]) == ("web.search.execute", NOW, NOW + 60)
    assert (claims["act"]["sub"], claims["act"]["iss"]) == (RESEARCHER, ISSUER)
    assert {"jti", "txn"} <= claims.keys()
    assert "call" not in claims


async def test_2_1_absent_the_requested_type_is_an_access_token(town: OAuthWorld) -> None:
    answer = await exchange(town, None, None, **{**WANTED, "requested_token_type": None})
    assert answer.json()["issued_token_type"] == ACCESS


async def test_8707_2_resource_and_audience_are_targets_and_all_are_its_audience(town: OAuthWorld) -> None:
    town.put(front(town, resources=[BACKEND, "https://b.88mph.com", "urn:orders"]))
    form = {"subject_token": town.person(aud=API), "subject_token_type": ACCESS, "requested_token_type": ACCESS}
    good = {**town.exchange(**form), "audience": "urn:orders", "resource": BACKEND}
    answer = await town.post("/oauth/token", [*good.items(), ("resource", "https://b.88mph.com")])
    assert payload(answer.json()["access_token"])["aud"] == [BACKEND, "https://b.88mph.com", "urn:orders"]
    answer = await town.post("/oauth/token", [*(good | town.proven("front")).items(), ("resource", "https://other.88mph.com")])
    assert answer.json()["error"] == "invalid_target", "all of them, or none"


@pytest.mark.parametrize(
    "target", [None, "https://other.88mph.com", ISSUER, "88mph.com", "https://payments.88mph.com", API, f"{BACKEND}#x", "backend"]
)
async def test_8707_2_targets_that_are_not_the_clients(town: OAuthWorld, target: str | None) -> None:
    assert (await refused(town, svid(town), **{**WANTED, "resource": target}))[0] == "invalid_target"
    assert (await refused(town, svid(town), **{**WANTED, "resource": None, "audience": target}))[0] == "invalid_target"


async def test_no_token_of_a_person_opens_the_fabrics_own_interfaces(town: OAuthWorld) -> None:
    """INVARIANT: what a person lets somebody do is never a right over the fabric's own interfaces, though a record says that it may be.

    Broken by a target that is compared with the record alone.
    """
    town.put(front(town, resources=[BACKEND, ISSUER]))
    assert await refused(town, svid(town), **{**WANTED, "resource": ISSUER}) == ("invalid_target", "resource_not_allowed")


async def test_a_tool_is_called_and_never_given_a_token_without_a_call(town: OAuthWorld) -> None:
    """INVARIANT: a target that is a tool's is decided by the engine, whatever resources the client's record has.

    Broken by a client's record that names a tool's resource: a token for it without a call would be good for all that the tool does.
    """
    town.put(front(town, resources=[BACKEND, SEARCH]))
    assert (await refused(town, None, None, **{**WANTED, "resource": SEARCH}))[0] == "invalid_target"
    assert (await refused(town, None, None, **{**WANTED, "audience": SEARCH}))[0] == "invalid_target", "beside another, too"


async def test_scope_is_within_everything(town: OAuthWorld) -> None:
    """INVARIANT: the scope is the subject token's, the ceiling's, the consent's, the charter's and the bounds' at most (promise 3).

    Broken by any of them that is asked for Transaction Tokens alone.
    """
    assert (await refused(town, svid(town), scope="process.refund", **WANTED))[0] == "invalid_scope", "the charter"
    narrow = town.person(aud=API, scope="web.search.read")
    assert (await refused(town, svid(town), subject_token=narrow, **WANTED))[1] == "out_of_subject_scope"
    assert (await refused(town, svid(town), scope=None, **WANTED))[0] == "invalid_scope"
    town.put(consent(purposes=["process.refund"]))
    assert (await refused(town, svid(town), **WANTED))[1] == "user_not_delegating"
    town.put(consent(), front(town, ceilings={"access_token": ["process.*"]}))
    assert (await refused(town, svid(town), **WANTED))[0] == "invalid_scope"


@pytest.mark.parametrize("kind", ["unsigned_json", "self_signed"])
async def test_nobodys_word_but_the_clients_makes_no_access_token(town: OAuthWorld, kind: str) -> None:
    """INVARIANT: who takes an access token sees a person whom somebody else than the client vouched for, whatever the way there.

    Broken by a Transaction Token that forgets how its transaction began.
    """
    token = '{"sub":"marty"}' if kind == "unsigned_json" else self_signed(town, sub="marty")
    said = {"subject_token": token, "subject_token_type": TYPE + kind}
    assert (await refused(town, None, None, **said, **WANTED))[1] == "subject_type_not_allowed"
    token = '{"sub":"marty"}' if kind == "unsigned_json" else self_signed(town, sub="marty")
    root = await granted(town, None, None, **{**said, "subject_token": token})
    again = await granted(town, None, None, subject_token=root, subject_token_type=TXN)
    for made in (root, again):
        assert (await refused(town, None, None, subject_token=made, subject_token_type=TXN, **WANTED))[1] == "subject_type_not_allowed"
    vouched = await granted(town, None, None)
    assert await granted(town, None, None, subject_token=vouched, subject_token_type=TXN, **WANTED)


async def test_9449_5_bound_to_the_key_of_the_proof(town: OAuthWorld) -> None:
    answer = await exchange(town, svid(town), headers={"dpop": town.proof()}, **WANTED)
    assert answer.json()["token_type"] == "DPoP"
    assert payload(answer.json()["access_token"])["cnf"]["jkt"]


async def test_it_outlives_nothing_that_it_rests_on(town: OAuthWorld) -> None:
    async def life(actor: str | None = None, **changes: Any) -> int:
        return int(payload(await granted(town, actor or svid(town), **{**WANTED, **changes}))["exp"]) - NOW

    assert await life(subject_token=town.person(aud=API, exp=NOW + 50)) == 50
    assert await life(svid(town, exp=NOW + 40)) == 40
    town.put(consent(expires_at=NOW + 30))
    assert await life() == 30
    town.put(front(town, access_ttl_s=20))
    assert await life() == 20


# --- what ends it ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["person", "transaction", "actor", "instance", "workload", "token", "key", "namespace", "subject token"])
async def test_everything_in_it_ends_it(town: OAuthWorld, what: str) -> None:
    """INVARIANT: a revocation of anybody or anything that an access token of an exchange rests on ends it, everywhere (promise 5).

    Broken by claims that name somebody whom no target is made of.
    """
    root = await granted(town, None, None)
    made = await granted(town, svid(town), subject_token=root, subject_token_type=TXN, **WANTED)
    claims = payload(made)
    targets = {
        "person": ("user", "marty"),
        "transaction": ("transaction", claims["txn"]),
        "actor": ("agent", RESEARCHER),
        "instance": ("instance", claims["act"]["instance"]),
        "workload": ("agent", FRONT),
        "token": ("token", claims["jti"]),
        "key": ("key", "tokens-1"),
        "namespace": ("namespace", "spiffe://88mph.com/agents"),
        "subject token": ("token", payload(root)["jti"]),
    }
    assert (await look(town, made))["active"] is True
    town.revocations.hit.add(target_digest(*targets[what]))  # type: ignore[arg-type]
    assert await look(town, made) == {"active": False}
    subject = {"subject_token": made, "subject_token_type": ACCESS}
    assert (await refused(town, None, None, **subject))[0] == "invalid_request"


async def test_a_suspended_client_ends_it(town: OAuthWorld) -> None:
    made = await granted(town, svid(town), **WANTED)
    town.put(client("console", town.keys["console"], protects=[BACKEND]))
    assert (await look(town, made, "console"))["act"]["sub"] == RESEARCHER
    assert await look(town, made, "researcher") == {"active": False}, "it neither asked for it nor serves what it is for"
    town.put(front(town, state="suspended"))
    assert await look(town, made, "console") == {"active": False}


async def test_its_client_ends_it(town: OAuthWorld) -> None:
    made = await granted(town, svid(town), **WANTED)
    assert (await town.post("/oauth/revoke", {**town.proven("researcher"), "token": made})).status_code == 400, (
        "the actor is not its client"
    )
    assert (await town.post("/oauth/revoke", {**town.proven("front"), "token": made})).status_code == 200
    assert await look(town, made) == {"active": False}


async def test_a_consent_that_ends_lets_nothing_follow(town: OAuthWorld) -> None:
    """Verifies that who serves the audience continues for the agents in the token only as long as the person lets them act."""
    made = await granted(town, svid(town), **WANTED)
    town.put(
        client(
            "console",
            town.keys["console"],
            protects=[BACKEND],
            ceilings={"access_token": ["web.*"]},
            spiffe_id="spiffe://88mph.com/services/b",
        )
    )
    subject = {"subject_token": made, "subject_token_type": ACCESS}
    assert payload(await granted(town, None, None, "console", **subject))["act"]["act"]["sub"] == RESEARCHER
    town.put(consent(expires_at=NOW))
    assert (await refused(town, None, None, "console", **subject))[1] == "user_not_delegating"


# --- 9068 sections 2.2.3 and 4, with act: what follows from it -------------------------------------------------------------------------


async def test_who_serves_the_resource_goes_on_in_the_same_transaction(town: OAuthWorld) -> None:
    """Verifies that a resource server exchanges the token that it was shown, bound or not, and that nobody is forgotten on the way."""
    backend = "spiffe://88mph.com/services/backend"
    serves = {"protects": [BACKEND], "spiffe_id": backend, "ceilings": {"access_token": ["web.*"], "txn_token": ["web.*"]}}
    town.put(client("console", town.keys["console"], **serves))
    made = await granted(town, svid(town), headers={"dpop": town.proof()}, **WANTED)
    claims = payload(await granted(town, None, None, "console", subject_token=made, subject_token_type=ACCESS))
    before = payload(made)
    assert (claims["txn"], claims["sub"]) == (before["txn"], "marty")
    assert (claims["act"]["sub"], claims["act"]["act"]) == (backend, before["act"])
    assert claims["req_chain"] == [{"wl": FRONT, "jti": before["jti"], "iat": NOW}]
    thief = {"subject_token": made, "subject_token_type": ACCESS}
    assert (await refused(town, None, None, "researcher", **thief))[0] == "invalid_request"


# --- for a tool -----------------------------------------------------------------------------------------------------------------------


def tool(world: OAuthWorld, **changes: Any) -> None:
    world.put({**SEARCH_TOOL, "token_form": "access_token", **changes})
    world.put({"kind": "relation", "subject": "user:marty", "relation": "operates", "object": "toolgroup:search"})


async def calls(world: OAuthWorld, name: str = "researcher", actor: str | None = None, **changes: Any) -> httpx.Response:
    form = {
        "subject_token": world.person(),
        "resource": SEARCH,
        "request_details": json.dumps({"call": CALL}),
        "requested_token_type": ACCESS,
        "audience": None,
    }
    return await exchange(world, actor, None if actor is None else JWT, name, **{**form, **changes})


async def test_a_call_of_a_tool_in_the_form_that_its_record_takes(town: OAuthWorld) -> None:
    tool(town)
    answer = await calls(town)
    body, claims = answer.json(), payload(answer.json()["access_token"])
    assert (body["issued_token_type"], body["token_type"], body["scope"]) == (ACCESS, "Bearer", "search")
    assert body["endpoint"] == SEARCH_TOOL["endpoint"]
    assert (claims["sub"], claims["client_id"], claims["aud"], claims["scope"]) == ("marty", RESEARCHER, SEARCH, "search")
    assert (claims["act"]["sub"], claims["act"]["iss"]) == (RESEARCHER, ISSUER)
    verified = parse_access_claims(claims, raw="", digest="", kid="tokens-1")
    assert (verified.call.tool, verified.sub, verified.act.sub) == ("web-search", "marty", RESEARCHER)
    assert (await look(town, body["access_token"], "researcher"))["active"] is True


async def test_the_form_is_the_records_and_not_the_clients_to_choose(town: OAuthWorld) -> None:
    assert (await calls(town)).json()["error"] in ("invalid_request", "invalid_target")
    tool(town)
    answer = await calls(town, requested_token_type=TXN, audience="88mph.com")
    assert answer.json()["error"] == "invalid_request"


async def test_the_engine_decides_it(town: OAuthWorld) -> None:
    """INVARIANT: an access token for a tool is decided as an invocation is: rights, consent, charter and policy over this tool.

    Broken by a form of token that goes by the resource's name alone.
    """
    town.put({**SEARCH_TOOL, "token_form": "access_token"})
    assert (await calls(town)).json()["error"] == "invalid_target", "marty operates no search"
    tool(town)
    assert (await calls(town)).status_code == 200
    tool(town, state="suspended")
    assert (await calls(town)).json()["error"] == "invalid_target"


async def test_a_tool_is_called_by_the_client_itself(town: OAuthWorld) -> None:
    """INVARIANT: the token for a call is bound to its client's key, so it names no other workload, nor another instance, as who acts.

    Broken by an actor token that puts one workload's name beside another's key.
    """
    tool(town)
    assert payload((await calls(town, actor=svid(town))).json()["access_token"])["act"]["instance"] == "i" + "a" * 26
    town.put(client("researcher", town.keys["researcher"], spiffe_id=RESEARCHER, actors=["spiffe://88mph.com/agents/*"]))
    town.put(consent(ADVISOR), {**small.bodies()["advisor"], "charter": small.bodies()["researcher"]["charter"]})
    for instance in ("i" + "a" * 26, None):
        answer = await calls(town, actor=svid(town, ADVISOR, weft_instance=instance), subject_token=town.person())
        assert answer.json().get("error") == "invalid_target"
    assert (await town.records())[-1]["data"]["reason"] == "actor_not_allowed"
    form = {
        **town.svid(),
        "resource": SEARCH,
        "requested_token_type": ACCESS,
        "audience": None,
        "request_details": json.dumps({"call": CALL}),
    }
    other = svid(town, weft_instance="i" + "b" * 26)
    subject = {"subject_token": town.person(), "subject_token_type": ACCESS, "actor_token": other, "actor_token_type": JWT}
    answer = await town.post("/oauth/token", {**town.exchange("none", **subject), **form}, headers={"dpop": town.proof()})
    assert answer.json()["error"] == "invalid_target", answer.text


async def test_9396_details_that_the_tool_knows(town: OAuthWorld) -> None:
    tool(town, authorization_details=["urn:88mph:search"])
    charter = small.bodies()["researcher"]["charter"] | {"authorization_details": ["urn:88mph:search"]}
    town.put({**small.bodies()["researcher"], "charter": charter})
    answer = await calls(town, authorization_details=json.dumps([DETAIL]))
    assert answer.json()["authorization_details"] == [DETAIL]
    assert payload(answer.json()["access_token"])["authorization_details"] == [DETAIL]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "[{}]",
        "x",
        '[{"type":"urn:other"}]',
        '[{"type":"t","more":1}]',
        '[{"type":"a","type":"b"}]',
        json.dumps([DETAIL] * 5),
        '["t"]',
        '[{"type":"\\ud800"}]',
    ],
)
async def test_9396_5_details_that_are_refused(town: OAuthWorld, text: str) -> None:
    tool(town, authorization_details=["urn:88mph:search"])
    assert (await calls(town, authorization_details=text)).json()["error"] == "invalid_authorization_details"


async def test_9396_5_nothing_but_a_tool_knows_details(town: OAuthWorld) -> None:
    rich = {"authorization_details": json.dumps([DETAIL])}
    assert (await refused(town, svid(town), **rich, **WANTED))[0] == "invalid_authorization_details"
    assert (await refused(town, svid(town), **rich))[0] == "invalid_authorization_details"


async def test_a_call_keeps_whoever_acted_before(town: OAuthWorld) -> None:
    """INVARIANT: whoever acted before a call stands in its token, in either form, and revoking them ends it.

    Broken by a call that begins its chain of actors anew.
    """
    town.put({"kind": "relation", "subject": "user:marty", "relation": "operates", "object": "toolgroup:search"})
    root = await granted(town, None, None)
    step = {"subject_token": root, "subject_token_type": TXN}
    plain = await calls(town, requested_token_type=TXN, audience="88mph.com", **step)
    before = payload(root)["act"]
    assert payload(plain.json()["access_token"])["act"].get("act") == before
    tool(town)
    made = (await calls(town, **step)).json()["access_token"]
    assert payload(made)["act"].get("act") == before
    assert (await look(town, made, "researcher"))["act"]["act"] == before
    verified = parse_access_claims(payload(made), raw="", digest="", kid="tokens-1")
    assert target_digest("agent", FRONT) in verified.targets
    town.revocations.hit.add(target_digest("agent", FRONT))
    assert await look(town, made, "researcher") == {"active": False}


async def test_which_targets_are_tools_is_nobodys_to_learn(town: OAuthWorld) -> None:
    """Verifies that a tool that is not granted and a target that is none are one answer, to whoever asks and whomever it brings."""
    town.put(client("plain", town.keys["console"], ceilings={"access_token": ["web.*"]}, protects=[API]))
    for name, key, actor in (("front", "front", svid(town)), ("front", "front", None), ("plain", "console", None)):
        answers = []
        for target in (SEARCH, "https://nowhere.88mph.com"):
            form = {**WANTED, "resource": target, **town.proven(name, signer=town.keys[key])}
            answers.append(await exchange(town, actor, None if actor is None else JWT, **form))
        assert [answer.status_code for answer in answers] == [400, 400]
        assert answers[0].json() == answers[1].json()


async def test_no_stream_is_managed_on_behalf_of_a_person(town: OAuthWorld) -> None:
    """INVARIANT: a receiver's streams are its own: a token in which somebody acts for another opens no management of them.

    Broken by taking every access token whose audience is the transmitter.
    """
    transmitter = town.settings.ssf_base
    town.put(front(town, resources=[transmitter], scopes=["ssf.read"]))
    authorizer = TokenAuthorizer(town.facts, town.revocations, town.settings, lambda _: True)
    own = await own_token(town, "front", "ssf.read", resource=transmitter)
    assert authorizer.receiver(own, NOW).client_id == "front"
    made = await granted(town, svid(town), **{**WANTED, "resource": transmitter})
    with pytest.raises(Rejected):
        authorizer.receiver(made, NOW)
