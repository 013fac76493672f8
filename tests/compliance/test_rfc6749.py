"""RFC 6749 sections 2.3, 3.2, 3.3, 4.4 and 5, as OAuth 2.1 keeps them: the token endpoint and client_credentials.  RFC 9068."""

from __future__ import annotations

import pytest

from config.limits import OAuthLimits, Rate
from tests.support.certificates import Leaf
from tests.support.identities import Signer
from tests.support.oauth import ISSUER, NOW, RESEARCHER, OAuthWorld, client, header, payload

CC = {"grant_type": "client_credentials"}


async def test_4_4_3_a_client_gets_a_token_of_its_own(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/token", {**CC, **world.proven(), "scope": "ssf.read"})
    assert answer.status_code == 200
    body = answer.json()
    assert {name: body[name] for name in ("token_type", "expires_in", "scope")} == {
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "ssf.read",
    }
    assert "refresh_token" not in body
    claims = payload(body["access_token"])
    assert header(body["access_token"])["typ"] == "at+jwt"
    assert (claims["iss"], claims["aud"], claims["sub"], claims["client_id"]) == (ISSUER, ISSUER, "console", "console")
    assert claims["exp"] - claims["iat"] == 300


async def test_5_1_no_answer_may_be_stored(world: OAuthWorld) -> None:
    for form in ({**CC, **world.proven()}, {}):
        answer = await world.post("/oauth/token", form)
        assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
        assert answer.headers["content-type"] == "application/json"


async def test_3_3_without_a_scope_a_client_gets_what_it_has(world: OAuthWorld) -> None:
    """Patterns are no scopes: what is listed by name is given."""
    answer = await world.post("/oauth/token", {**CC, **world.proven()})
    assert answer.json()["scope"] == "ssf.read ssf.manage"


@pytest.mark.parametrize(
    "scope",
    [
        "ssf.delete",
        "ssf.read ssf.delete",
        "*",
        "ssf.*",
        "SSF.READ",
        "ssf.read  ssf.manage",
        " ssf.read",
        'a"b',
        " ".join(f"s{n}" for n in range(17)),
    ],
)
async def test_5_2_invalid_scope(world: OAuthWorld, scope: str) -> None:
    answer = await world.post("/oauth/token", {**CC, **world.proven(), "scope": scope})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


async def test_5_2_unsupported_grant_type(world: OAuthWorld) -> None:
    for grant in ("password", "refresh_token", "authorization_code", "urn:ietf:params:oauth:grant-type:jwt-bearer"):
        answer = await world.post("/oauth/token", {"grant_type": grant, **world.proven()})
        assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


async def test_5_2_unauthorized_client(world: OAuthWorld) -> None:
    world.put(client("console", world.keys["console"], grant_types=[world.exchange()["grant_type"]], scopes=[]))
    answer = await world.post("/oauth/token", {**CC, **world.proven(), "scope": "ssf.read"})
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


async def test_3_2_a_parameter_without_a_value_is_omitted_and_an_unknown_one_ignored(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/token", {**CC, **world.proven(), "scope": "", "resource": "", "colour": "blue"})
    assert answer.status_code == 200
    assert (await world.post("/oauth/token", {"grant_type": "", **world.proven()})).json()["error"] == "invalid_request"


async def test_3_2_no_parameter_occurs_twice(world: OAuthWorld) -> None:
    form = [*{**CC, **world.proven()}.items(), ("scope", "ssf.read"), ("scope", "ssf.manage")]
    answer = await world.post("/oauth/token", form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("content", "media"),
    [
        (b"{}", "application/json"),
        (b"grant_type=client_credentials", "text/plain"),
        (b"grant_type=%FF", "application/x-www-form-urlencoded"),
        (b"grant_type=\xff", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % n for n in range(65)), "application/x-www-form-urlencoded"),
        (b"", "application/x-www-form-urlencoded; charset=utf-16"),
    ],
)
async def test_3_2_only_a_form_is_read(world: OAuthWorld, content: bytes, media: str) -> None:
    async with world.http() as http:
        answer = await http.post("/oauth/token", content=content, headers={"content-type": media})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_3_2_post_and_nothing_else(world: OAuthWorld) -> None:
    async with world.http() as http:
        assert (await http.get("/oauth/token")).status_code == 405
        assert (await http.put("/oauth/token")).status_code == 405


async def test_2_3_1_nothing_stands_in_the_url(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/token?client_id=console", {**CC, **world.proven()})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_2_3_no_secret_is_ever_taken(world: OAuthWorld) -> None:
    """INVARIANT: a client with a shared secret does not exist here, in the body or in a header.

    Looking for `client_secret` among the facts, or falling through to "no credentials", would open what no fact describes.
    """
    answer = await world.post("/oauth/token", {**CC, "client_id": "console", "client_secret": "hunter2"})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    answer = await world.post("/oauth/token", {**CC, **world.proven()}, auth=("console", "hunter2"))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert "hunter2" not in answer.text


async def test_2_3_a_client_that_says_nothing_is_not_authenticated(world: OAuthWorld) -> None:
    for form in (CC, {**CC, "client_id": "console"}):
        answer = await world.post("/oauth/token", form)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_5_2_a_description_holds_what_it_may(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/token", {**CC, **world.proven(), "scope": '"\\é'})
    assert all(0x20 <= ord(c) <= 0x7E and c not in '"\\' for c in answer.json()["error_description"])


# --- RFC 9068 --------------------------------------------------------------------------------------------------------------------


async def test_rfc9068_2_2_every_claim_is_there(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/token", {**CC, **world.proven()})
    claims = payload(answer.json()["access_token"])
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} <= claims.keys()
    assert claims["iat"] == NOW
    other = await world.post("/oauth/token", {**CC, **world.proven()})
    assert payload(other.json()["access_token"])["jti"] != claims["jti"]


# --- what the fabric adds --------------------------------------------------------------------------------------------------------


async def test_a_token_leaves_after_its_record(world: OAuthWorld) -> None:
    """INVARIANT: no token without an acknowledged record of it (promise 4), at this endpoint too.

    Signing before the commit, or answering while RECORD is full, would release what nobody can account for.
    """
    answer = await world.post("/oauth/token", {**CC, **world.proven()})
    (event,) = await world.records()
    assert event["type"] == "org.weft.record.exchanged.v1"
    assert event["data"]["claims"] == payload(answer.json()["access_token"])
    assert event["data"]["explanation"] == answer.headers["weft-explanation"]
    world.stream.full = True
    refused = await world.post("/oauth/token", {**CC, **world.proven()})
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
    assert refused.headers["retry-after"] == "1"


async def test_a_refusal_is_on_record_by_the_id_that_the_answer_carries(world: OAuthWorld) -> None:
    answer = await world.post("/oauth/token", {**CC, **world.proven(), "scope": "ssf.delete"})
    (event,) = await world.records()
    assert event["type"] == "org.weft.record.notexchanged.v1"
    assert (event["data"]["reason"], event["data"]["explanation"]) == ("out_of_ceiling", answer.headers["weft-explanation"])


async def test_stale_views_refuse_everybody(world: OAuthWorld) -> None:
    """INVARIANT: by a stale view nobody is a client (promise 7).

    A suspended client would go on as long as its suspension does not arrive.
    """
    world.views.is_fresh = False
    answer = await world.post("/oauth/token", {**CC, **world.proven()})
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")


async def test_a_suspended_client_is_nobody(world: OAuthWorld) -> None:
    world.put(client("console", world.keys["console"], state="suspended"))
    answer = await world.post("/oauth/token", {**CC, **world.proven()})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


FORMS: dict[str, dict[str, str]] = {"token": CC, "introspect": {"token": "x"}, "revoke": {"token": "x"}}


async def flood(world: OAuthWorld, path: str, *proofs: dict[str, str]) -> list[tuple[int, str | None]]:
    answers = [await world.post(f"/oauth/{path}", {**FORMS[path], **proof}) for proof in proofs]
    return [(answer.status_code, answer.headers.get("retry-after")) for answer in answers]


@pytest.mark.parametrize("path", FORMS)
async def test_one_client_that_floods_is_told_so_and_no_other(path: str) -> None:
    """INVARIANT: each endpoint serves a client as often as its setting says, tells it when to come again, and serves the others.

    RFC 6749 has no code for it; 429 and Retry-After are RFC 6585 section 4's.  Broken by an endpoint that nobody counts.
    """
    limits = {name: Rate(rate_per_s=0.5, burst=2) if name == path else Rate() for name in FORMS}
    world = OAuthWorld(limits=OAuthLimits(**limits))
    assert await flood(world, path, *(world.proven() for _ in range(3))) == [(200, None), (200, None), (429, "2")]
    assert await flood(world, path, world.proven("front")) == [(200, None)]
    for other in FORMS.keys() - {path}:
        assert await flood(world, other, world.proven()) == [(200, None)]
    world.clock.at += 2
    assert await flood(world, path, world.proven(), world.proven()) == [(200, None), (429, "2")]
    await world.recorder.close()


async def test_a_workload_is_one_client_whatever_it_authenticates_with() -> None:
    """INVARIANT: who is registered with two methods, a JWT and a certificate say, has one share.

    Broken by a bucket for each client id: whoever has three registrations asks three times as often.
    """
    world = OAuthWorld(limits=OAuthLimits(introspect=Rate(rate_per_s=0.5, burst=2)))
    own = Leaf()
    world.put(client("tls", auth_method="self_signed_tls_client_auth", jwks={"keys": [own.jwk]}, spiffe_id=RESEARCHER))
    world.certificate = own.presented("self_signed")
    ways = (world.proven("researcher"), {"client_id": "tls"}, world.svid())
    assert await flood(world, "introspect", *ways) == [(200, None), (200, None), (429, "2")]
    await world.recorder.close()


async def test_who_only_guesses_is_limited_by_address() -> None:
    world = OAuthWorld(limits=OAuthLimits(address=Rate(rate_per_s=0.5, burst=2)))
    guesses = [world.proven(signer=Signer(kid="console-1")) for _ in range(3)]
    assert [status for status, _ in await flood(world, "token", *guesses)] == [401, 401, 429]
    await world.recorder.close()
