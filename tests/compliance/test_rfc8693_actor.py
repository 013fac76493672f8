"""RFC 8693: actor tokens at the token endpoint, sections 2.1, 2.2.2, 4.1, 4.4; draft-mcguinness-oauth-actor-profile-00 where it says more.

What is issued names who acts; whoever acts is asked for as whoever asks is.  Who misuses an actor token how, is
tests/compliance/test_confused_actors.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from weft.digest import target_digest

from tests.compliance.test_txn_tokens import posture
from tests.support import world as small
from tests.support.acting import ACCESS, API, JWT, SELF, begin, consent, exchange, front, granted, own_token, refused, self_signed, svid
from tests.support.identities import NOW, Signer
from tests.support.oauth import ADVISOR, FRONT, ISSUER, PROVIDER, RESEARCHER, TXN, TYPE, OAuthWorld, client, payload

INVALID = ("invalid_request", "actor_token_invalid")
NOT_ALLOWED = ("invalid_request", "actor_not_allowed")
INSTANCE = "i" + "a" * 26


@pytest.fixture
def town(world: OAuthWorld) -> OAuthWorld:
    begin(world)
    return world


# --- 4.1: what is issued --------------------------------------------------------------------------------------------------------------


async def test_4_1_the_actor_is_named_and_whose_name_it_is(town: OAuthWorld) -> None:
    claims = payload(await granted(town, svid(town)))
    assert claims["act"] == {"sub": RESEARCHER, "iss": ISSUER, "sub_profile": "ai_agent", "instance": INSTANCE}
    assert (claims["sub"], claims["req_wl"], claims["workload"]) == ("marty", FRONT, FRONT)


async def test_4_1_without_an_actor_token_the_client_acts(town: OAuthWorld) -> None:
    """INVARIANT: what is issued for a person names who acts: delegation, never impersonation (RFC 8693 section 1.1).

    Broken by a token from which nobody could tell that it was not the person.
    """
    claims = payload(await granted(town, None, None))
    assert claims["act"] == {"sub": FRONT, "iss": ISSUER, "sub_profile": "service"}


async def test_4_1_who_acts_for_itself_is_no_actor(town: OAuthWorld) -> None:
    own = {"subject_token": await own_token(town), "subject_token_type": ACCESS}
    assert "act" not in payload(await granted(town, None, None, "researcher", **own))
    assert "act" not in payload(await granted(town, svid(town), JWT, "researcher", **own))


async def test_4_1_the_clients_own_actor_token_says_which_instance(town: OAuthWorld) -> None:
    own = {"subject_token": town.person(), "subject_token_type": ACCESS}
    assert payload(await granted(town, svid(town), JWT, "researcher", **own))["act"]["instance"] == INSTANCE
    assert "instance" not in payload(await granted(town, None, None, "researcher", **own))["act"]


async def test_2_1_an_access_token_of_the_actor(town: OAuthWorld) -> None:
    token = await own_token(town)
    act = payload(await granted(town, token, ACCESS))["act"]
    assert (act["sub"], act["jti"]) == (RESEARCHER, payload(token)["jti"])


@pytest.mark.parametrize("sub", ["front", FRONT])
async def test_2_1_the_clients_own_word_about_itself(town: OAuthWorld, sub: str) -> None:
    assert payload(await granted(town, self_signed(town, sub=sub), SELF))["act"]["sub"] == FRONT


async def test_4_1_a_chain_that_came_along_is_copied_unchanged_under_who_acts_now(town: OAuthWorld) -> None:
    """INVARIANT: whoever acted before stands under who acts now, unchanged, however often the token is exchanged.

    Broken by an exchange that writes `act` anew, or keeps the outermost alone.
    """
    before = {"sub": "app", "iss": PROVIDER, "sub_profile": "service", "act": {"sub": "https://old.example/app"}}
    first = await granted(town, svid(town), subject_token=town.person(aud=API, client_id="app", act=before))
    assert payload(first)["act"].get("act") == before
    again = await granted(town, None, None, subject_token=first, subject_token_type=TXN)
    act = payload(again)["act"]
    assert (act["sub"], act["act"]) == (FRONT, payload(first)["act"])


async def test_4_1_who_goes_on_acting_is_not_named_twice(town: OAuthWorld) -> None:
    first = await granted(town, None, None)
    again = await granted(town, None, None, subject_token=first, subject_token_type=TXN)
    assert payload(again)["act"] == payload(first)["act"]
    own = town.person(client_id=FRONT, act={"sub": FRONT, "act": {"sub": "app"}})
    assert payload(await granted(town, None, None, subject_token=own))["act"] == {**payload(first)["act"], "act": {"sub": "app"}}


async def test_profile_a_chain_that_is_too_deep_is_refused_and_never_cut(town: OAuthWorld) -> None:
    def nested(depth: int) -> dict[str, Any]:
        return {"sub": f"app-{depth}", **({"act": nested(depth - 1)} if depth > 1 else {})}

    fits = payload(await granted(town, svid(town), subject_token=town.person(aud=API, act=nested(7))))
    assert fits["act"]["act"] == nested(7)
    for depth, reason in ((8, "chain_too_deep"), (9, "subject_token_invalid"), (200, "subject_token_invalid")):
        assert await refused(town, svid(town), subject_token=town.person(aud=API, act=nested(depth))) == ("invalid_request", reason)


@pytest.mark.parametrize(
    "act",
    [
        "app",
        [],
        {},
        {"iss": PROVIDER},
        {"sub": "app", "exp": 1},
        {"sub": "app", "instance": INSTANCE},
        {"sub": "a b"},
        {"sub": "app", "act": "x"},
    ],
)
async def test_4_1_an_act_that_could_not_be_copied_whole_refuses_the_token(town: OAuthWorld, act: Any) -> None:
    assert await refused(town, svid(town), subject_token=town.person(aud=API, act=act)) == ("invalid_request", "subject_token_invalid")


async def test_4_1_nobody_says_by_himself_who_acted_before(town: OAuthWorld) -> None:
    for kind, token in (
        ("unsigned_json", '{"sub":"marty","act":{"sub":"app"}}'),
        ("self_signed", self_signed(town, sub="marty", act={"sub": "x"})),
    ):
        said = {"subject_token": token, "subject_token_type": TYPE + kind}
        assert await refused(town, None, None, **said) == ("invalid_request", "subject_token_invalid")


@pytest.mark.parametrize(
    "sub", ["SPIFFE://88mph.com/agents/researcher", "spiffe://88MPH.com/agents/researcher", "spiffe://88mph.com//x", "spiffe://"]
)
async def test_4_1_a_workload_in_another_spelling_is_nobody(town: OAuthWorld, sub: str) -> None:
    """INVARIANT: whoever acted before is in reach of postures and revocations, or is not taken.

    Broken by a SPIFFE ID in a spelling that nothing said about the workload would meet.
    """
    for act in ({"sub": sub}, {"sub": "app", "act": {"sub": sub}}):
        inbound = town.person(aud=API, act=act)
        assert await refused(town, svid(town), subject_token=inbound) == ("invalid_request", "subject_token_invalid")


async def test_what_is_revoked_while_the_broker_waits_is_not_exchanged(town: OAuthWorld) -> None:
    """INVARIANT: no token is minted at a counter whose entry ended what it rests on (promise 5).

    Broken by reading a subject or an actor token, and then waiting for the facts that an entry names.
    """
    actor, subject = await own_token(town), await granted(town, None, None)
    for ended, changes in ((actor, {}), (subject, {"subject_token": subject, "subject_token_type": TXN})):

        async def reach(revision: int, timeout_s: float, ended: str = ended) -> bool:
            town.put(front(town))
            town.revocations.hit = {target_digest("token", payload(ended)["jti"])}
            town.revocations.counter = town.views.revocations = town.views.revocations + 1
            return True

        town.views.facts_needed, town.views.reach = town.facts.revision + 1, reach  # type: ignore[method-assign]
        assert (await refused(town, actor, ACCESS, **changes))[0] == "invalid_request"


# --- 2.1: the parameters ------------------------------------------------------------------------------------------------------------


async def test_2_1_type_and_token_belong_together(town: OAuthWorld) -> None:
    assert await refused(town, svid(town), None) == INVALID
    assert await refused(town, None, JWT) == INVALID


@pytest.mark.parametrize("kind", ["refresh_token", "id_token", "saml1", "saml2", "txn_token", "unsigned_json", ""])
async def test_2_1_types_that_are_no_actors(town: OAuthWorld, kind: str) -> None:
    assert await refused(town, svid(town), TYPE + kind) == INVALID
    assert await refused(town, svid(town), kind or "jwt") == INVALID


async def test_2_1_client_credentials_has_no_actor(town: OAuthWorld) -> None:
    """A parameter that a grant does not know is ignored (RFC 6749 section 3.2), and gives nothing."""
    form = {"grant_type": "client_credentials", **town.proven("front"), "actor_token": svid(town), "actor_token_type": JWT}
    assert "act" not in payload((await town.post("/oauth/token", form)).json()["access_token"])


# --- 2.2.2: actor tokens that are none ------------------------------------------------------------------------------------------------

SVIDS: dict[str, dict[str, Any]] = {
    "for another audience": {"aud": ["https://elsewhere"]},
    "for others too": {"aud": [ISSUER, "https://api.88mph.com"]},
    "of the bus": {"aud": ["weft:88mph.com:UAAA"]},
    "without an audience": {"aud": None},
    "of another trust domain": {"sub": "spiffe://other.org/agents/researcher"},
    "of no workload": {"sub": "spiffe://88mph.com"},
    "of a person": {"sub": "marty"},
    "without a subject": {"sub": None},
    "expired": {"exp": NOW},
    "of tomorrow": {"iat": NOW + 60},
    "longer than any SVID": {"exp": NOW + 7200},
    "of somebody's delegate": {"act": {"sub": ADVISOR}},
    "bound to a key that was not shown": {"cnf": {"jkt": "A" * 43}},
    "with an instance that is none": {"weft_instance": "x"},
}


@pytest.mark.parametrize("what", SVIDS)
async def test_2_2_2_svids_that_are_refused(town: OAuthWorld, what: str) -> None:
    assert await refused(town, svid(town, **SVIDS[what])) == INVALID


async def test_2_2_2_an_svid_by_anybody(town: OAuthWorld) -> None:
    claims = payload(svid(town))
    assert await refused(town, Signer(kid="svid-1").sign(claims)) == INVALID
    assert await refused(town, town.keys["front"].sign(claims)) == INVALID
    assert await refused(town, town.keys["svid"].sign(claims, typ="at+jwt")) == INVALID
    assert await refused(town, "nonsense") == INVALID


async def test_2_2_2_a_development_svid_in_production(town: OAuthWorld) -> None:
    town.settings.__dict__["mode"] = "production"
    assert await refused(town, svid(town, weft_assurance="development")) == INVALID
    assert await granted(town, svid(town))


async def test_2_2_2_access_tokens_that_are_refused(town: OAuthWorld) -> None:
    """INVARIANT: an actor token is the actor's own, and was shown to nobody but the fabric.

    Taking one that a resource server saw too would let that server act as whoever called it.
    """
    town.put(client("researcher", town.keys["researcher"], spiffe_id=RESEARCHER, scopes=["web.search.execute"], resources=[API]))
    assert await refused(town, await own_token(town, resource=API), ACCESS) == INVALID
    both = payload(await own_token(town)) | {"aud": [ISSUER, API]}
    assert await refused(town, town.own(both, "at+jwt"), ACCESS) == INVALID
    assert await refused(town, town.person(client_id=RESEARCHER), ACCESS) == INVALID, "a provider's"
    good = payload(await own_token(town))
    assert await granted(town, town.own(good, "at+jwt"), ACCESS)
    for changes in (
        {"exp": NOW},
        {"iss": PROVIDER},
        {"act": {"sub": ADVISOR}},
        {"sub": "marty"},
        {"req_chain": [{"wl": FRONT, "jti": "j", "iat": NOW}]},
        {"cnf": {"jkt": "A" * 43}},
        {"client_id": "nobody", "sub": "nobody"},
        {"rev": 99},
    ):
        assert await refused(town, town.own(good | changes, "at+jwt"), ACCESS) == INVALID, changes
    assert await refused(town, town.own(good, "txntoken+jwt"), ACCESS) == INVALID
    assert await refused(town, town.own(good, "at+jwt"), JWT) == INVALID


@pytest.mark.parametrize(("kind", "claim"), [("token", "jti"), ("transaction", "txn"), ("agent", None), ("key", None)])
async def test_2_2_2_a_revoked_access_token(town: OAuthWorld, kind: Any, claim: str | None) -> None:
    token = await own_token(town)
    value = payload(token)[claim] if claim is not None else {"agent": RESEARCHER, "key": "tokens-1"}[kind]
    town.revocations.hit.add(target_digest(kind, value))
    assert await refused(town, token, ACCESS) == INVALID


async def test_2_2_2_a_suspended_clients_access_token(town: OAuthWorld) -> None:
    token = await own_token(town)
    town.put(client("researcher", town.keys["researcher"], spiffe_id=RESEARCHER, scopes=["web.search.execute"], state="suspended"))
    assert await refused(town, token, ACCESS) == INVALID


async def test_7800_a_bound_actor_token_wants_its_key(town: OAuthWorld) -> None:
    """Verifies that a bound access token acts for nobody who has not its key, and that what is issued is bound to that key then."""
    token = await own_token(town, headers={"dpop": town.proof()})
    assert await refused(town, token, ACCESS) == INVALID
    assert await refused(town, token, ACCESS, headers={"dpop": town.proof(signer=Signer())}) == INVALID
    claims = payload(await granted(town, token, ACCESS, headers={"dpop": town.proof()}))
    assert claims["cnf"] == payload(token)["cnf"]


OWN_WORD: dict[str, dict[str, Any]] = {
    "about another": {"sub": ADVISOR},
    "about a person": {"sub": "marty"},
    "of another client": {"iss": "researcher"},
    "for another audience": {"aud": "88mph.com"},
    "for others too": {"aud": [ISSUER, "x"]},
    "without jti": {"jti": None},
    "without exp": {"exp": None},
    "expired": {"exp": NOW},
    "for an hour": {"exp": NOW + 3600},
    "long ago": {"iat": NOW - 400},
    "of somebody's delegate": {"act": {"sub": ADVISOR}},
}


@pytest.mark.parametrize("what", OWN_WORD)
async def test_2_2_2_a_clients_own_word_that_is_refused(town: OAuthWorld, what: str) -> None:
    assert await refused(town, self_signed(town, **OWN_WORD[what]), SELF) == INVALID


async def test_2_2_2_a_clients_own_word_is_good_once(town: OAuthWorld) -> None:
    """INVARIANT: what a client signs counts once, whether it authenticates with it or acts by it.

    Broken by a claim that the two do not share: an assertion that was used would act again.
    """
    token = self_signed(town)
    assert await granted(town, token, SELF)
    assert await refused(town, token, SELF) == ("invalid_request", "already_claimed")
    used = town.proven("front", typ="JWT")
    assert await refused(town, used["client_assertion"], SELF, **used) == ("invalid_request", "already_claimed")


async def test_2_2_2_a_refusal_uses_no_actor_token_up(town: OAuthWorld) -> None:
    token = self_signed(town)
    assert (await refused(town, token, SELF, scope="payments.all"))[0] == "invalid_scope"
    assert await granted(town, token, SELF)


# --- 4.4: may_act ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "may_act",
    [
        {"sub": RESEARCHER},
        {"sub": RESEARCHER, "iss": PROVIDER},
        {"sub": RESEARCHER, "iss": "https://fabric.88mph.com"},
        {"sub": RESEARCHER, "iss": ISSUER},
    ],
)
async def test_4_4_may_act_is_compared_with_the_actor(town: OAuthWorld, may_act: dict[str, str]) -> None:
    subject = {"subject_token": town.person(client_id="app", may_act=may_act)}
    assert payload(await granted(town, svid(town), **subject))["act"]["sub"] == RESEARCHER
    assert (await refused(town, None, None, **subject))[0] == "invalid_request", "the client alone is not who may act"


@pytest.mark.parametrize(
    "may_act",
    [
        {"sub": ADVISOR},
        {"sub": FRONT},
        {"sub": RESEARCHER, "iss": "https://other"},
        {"sub": "researcher"},
        {"sub": "researcher", "iss": PROVIDER},
    ],
)
async def test_4_4_and_with_nobody_else(town: OAuthWorld, may_act: dict[str, str]) -> None:
    """INVARIANT: where the subject token says who may act, nobody else does, whoever its audience is.

    Broken by asking only where the token would not be the client's otherwise.
    """
    assert await refused(town, svid(town), subject_token=town.person(aud=API, client_id="app", may_act=may_act)) == NOT_ALLOWED
    own = town.person(client_id=FRONT, may_act=may_act)
    assert (await refused(town, svid(town), subject_token=own)) == NOT_ALLOWED


async def test_4_4_an_opaque_name_is_ours_where_we_are_its_issuer(town: OAuthWorld) -> None:
    named = town.person(aud=API, client_id="app", may_act={"sub": "front", "iss": ISSUER})
    assert await granted(town, None, None, subject_token=named)
    elsewhere = town.person(aud=API, client_id="app", may_act={"sub": "front", "iss": PROVIDER})
    assert await refused(town, None, None, subject_token=elsewhere) == NOT_ALLOWED


@pytest.mark.parametrize("kind", ["id_token", "jwt", "unsigned_json", "self_signed"])
async def test_4_4_of_every_type_of_subject_token(town: OAuthWorld, kind: str) -> None:
    def subject(named: dict[str, str]) -> dict[str, str]:
        if kind == "unsigned_json":
            token = f'{{"sub":"marty","may_act":{{"sub":"{named["sub"]}"}}}}'
        elif kind == "self_signed":
            token = self_signed(town, sub="marty", may_act=named)
        else:
            token = town.person(typ="JWT", client_id=None, scope=None, may_act=named, aud=FRONT if kind == "id_token" else ISSUER)
        return {"subject_token": token, "subject_token_type": TYPE + kind}

    assert await granted(town, svid(town), **subject({"sub": RESEARCHER}))
    assert await refused(town, svid(town), **subject({"sub": ADVISOR})) == NOT_ALLOWED


async def test_4_4_it_is_never_handed_on(town: OAuthWorld) -> None:
    named = town.person(aud=API, client_id="app", may_act={"sub": RESEARCHER})
    made = await granted(town, svid(town), subject_token=named)
    assert "may_act" not in str(payload(made))


@pytest.mark.parametrize("may_act", ["researcher", [], {}, {"sub": RESEARCHER, "instance": INSTANCE}, {"iss": PROVIDER}])
async def test_4_4_a_may_act_that_cannot_be_compared_refuses(town: OAuthWorld, may_act: Any) -> None:
    assert await refused(town, svid(town), subject_token=town.person(aud=API, may_act=may_act)) == (
        "invalid_request",
        "subject_token_invalid",
    )


# --- both are asked for ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        (posture("agent", RESEARCHER, "quarantined"), "quarantined"),
        (posture("instance", INSTANCE, "quarantined"), "quarantined"),
        (posture("namespace", "spiffe://88mph.com/agents", "step_up"), "step_up_required"),
        (posture("agent", RESEARCHER, "narrowed", purposes=["other"]), "narrowed"),
        (posture("agent", FRONT, "quarantined"), "quarantined"),
        (posture("user", "marty", "quarantined"), "quarantined"),
        ({"kind": "namespace", "prefix": "spiffe://88mph.com/agents", "owner": "o", "bounds": {"purposes": ["other"]}}, "out_of_bounds"),
        ({"kind": "namespace", "prefix": "spiffe://88mph.com/services", "owner": "o", "bounds": {"purposes": ["other"]}}, "out_of_bounds"),
        ({**small.bodies()["researcher"], "state": "suspended"}, "agent_inactive"),
        ({**small.bodies()["researcher"], "charter": {**small.bodies()["researcher"]["charter"], "purposes": ["other"]}}, "out_of_charter"),
        (consent(purposes=["process.refund"]), "user_not_delegating"),
        (consent(expires_at=NOW), "user_not_delegating"),
    ],
)
async def test_both_actor_and_client_are_asked_for(town: OAuthWorld, fact: dict[str, Any], reason: str) -> None:
    """INVARIANT: posture, bounds, charter, consent and state of the actor count, and the client's own beside them.

    Broken by a decision about one of the two: a client would gain from bringing a stronger actor, or an actor from a stronger client.
    """
    assert await granted(town, svid(town))
    town.put(fact)
    assert (await refused(town, svid(town)))[1] == reason


async def test_the_shorter_life_counts(town: OAuthWorld) -> None:
    """INVARIANT: what is issued ends with the first that ends of actor token, consent, and the limits of client and actor (promise 3).

    Broken by a life that is cut by the subject token and the client alone.
    """

    def life(token: str) -> int:
        return int(payload(token)["exp"]) - NOW

    assert life(await granted(town, svid(town, exp=NOW + 30))) == 30
    town.put(consent(expires_at=NOW + 20))
    assert life(await granted(town, svid(town))) == 20
    agents = {"kind": "namespace", "prefix": "spiffe://88mph.com/agents", "owner": "o", "bounds": {"max_ttl_s": 10}}
    town.put(agents)
    assert life(await granted(town, svid(town))) == 10
    town.put(front(town, txn_ttl_s=5))
    assert life(await granted(town, svid(town))) == 5


async def test_the_clients_ceiling_bounds_what_its_actor_gets(town: OAuthWorld) -> None:
    town.put(front(town, ceilings={"access_token": ["process.refund"]}))
    assert (await refused(town, svid(town)))[0] == "invalid_scope"


async def test_every_end_of_the_actor_ends_what_was_issued(town: OAuthWorld) -> None:
    """INVARIANT: revoking the actor, its instance, its actor token or a namespace above it ends the token (promise 5).

    Broken by an actor who stands in the token and in no target of it.
    """
    token = await own_token(town)
    for kind, value, made in (
        ("agent", RESEARCHER, await granted(town, svid(town))),
        ("instance", INSTANCE, await granted(town, svid(town))),
        ("namespace", "spiffe://88mph.com/agents", await granted(town, svid(town))),
        ("token", payload(token)["jti"], await granted(town, token, ACCESS)),
    ):
        assert (await exchange(town, None, None, subject_token=made, subject_token_type=TXN)).status_code == 200
        target = target_digest(kind, value)  # type: ignore[arg-type]
        town.revocations.hit.add(target)
        assert (await refused(town, None, None, subject_token=made, subject_token_type=TXN))[0] == "invalid_request"
        look = await town.post("/oauth/introspect", {**town.proven("front"), "token": made})
        assert look.json() == {"active": False}
        town.revocations.hit.discard(target)


async def test_a_suspended_client_ends_what_it_was_issued(town: OAuthWorld) -> None:
    """INVARIANT: no token of a client that is none any more is active, or goes on, whichever kind it is of.

    Broken by a Transaction Token that does not say which client requested it.
    """
    made = await granted(town, svid(town))
    carry = {"subject_token": made, "subject_token_type": TXN}
    assert (await exchange(town, None, None, "researcher", **carry)).status_code == 200
    town.put(front(town, state="suspended"))
    assert (await refused(town, None, None, "researcher", **carry)) == ("invalid_request", "parent_revoked")
    look = await town.post("/oauth/introspect", {**town.proven("researcher"), "token": made})
    assert look.json() == {"active": False}


async def test_4_1_introspection_shows_who_acts(town: OAuthWorld) -> None:
    made = await granted(town, svid(town), subject_token=town.person(aud=API, act={"sub": "app"}))
    look = (await town.post("/oauth/introspect", {**town.proven("front"), "token": made})).json()
    assert look["act"] == payload(made)["act"]
    assert look["act"]["act"] == {"sub": "app"}
