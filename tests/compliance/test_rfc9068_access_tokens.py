"""Access tokens for tools: RFC 9068 sections 2 and 4, RFC 8707 section 2, RFC 8693 section 4.1.

The broker mints them, a second implementation (PyJWT) reads them as any resource server would, and the guard as a Weft tool does.
"""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from weft.digest import target_digest
from weft.dpop import make_proof
from weft.enforcement import Asked, check_call, check_proof
from weft.errors import GuardReason, Refused, TokenRefused
from weft.records import parse_attachment
from weft.token import TOKEN_TYP, verify_token

from schemas.accesstoken import AccessTokenClaims
from schemas.facts import Tool
from schemas.invocation import Granted
from schemas.reasons import DenyReason
from schemas.record import Denied
from streams.bus import parse
from tests.support import facts as fact_support
from tests.support.hotpath import SETTINGS, HotPath
from tests.support.identities import Signer
from tests.support.invocations import RESEARCHER, SEARCH
from tests.support.oauth import OAuthWorld, client
from workers.common.accesstoken import verify_access_token
from workers.common.identity import thumbprint

RESOURCE = "https://web-search.88mph.com"
CALLED = Asked("web-search", ("search",), "GET", "/search?q=flux", b"")


@pytest.fixture
def hot() -> HotPath:
    made = HotPath()
    record(made, token_form="access_token")
    return made


def record(hot: HotPath, **changes: Any) -> Tool:
    """The tool's record, changed."""
    hot.put(hot.table.tool("web-search").model_copy(update=changes))
    return hot.table.tool("web-search")


async def granted(hot: HotPath, agent: Any = None, **asked: Any) -> Granted:
    return await hot.mint.grant(await hot.allowed(agent or hot.agent(), **asked))


def keys(hot: HotPath) -> dict[str, Any]:
    return {hot.signer.kid: hot.signer._private.public_key()}


def at_the_guard(hot: HotPath, token: str, typs: tuple[str, ...] = ("at+jwt", TOKEN_TYP)) -> Any:
    audiences = (RESOURCE, "88mph.com")
    return verify_token(token, keys(hot), issuer=SETTINGS.issuer, audiences=audiences, now=hot.clock.at, typs=typs)


def known_to_the_guard(tool: Tool) -> Any:
    attached = {"tools": [tool.plain()], "keys": [], "trust_domain": "88mph.com", "issuer": SETTINGS.issuer}
    return parse_attachment(attached).tools["web-search"]


def read_by_another(hot: HotPath, token: str, audience: str = RESOURCE) -> dict[str, Any]:
    """RFC 9068 section 4, by PyJWT; the test's clock stands elsewhere."""
    options = {"require": ["iss", "exp", "aud", "sub", "iat", "jti"], "verify_exp": False, "verify_iat": False}
    return jwt.decode(token, keys(hot)[hot.signer.kid], ["ES256"], audience=audience, issuer=SETTINGS.issuer, options=options)


async def test_2_1_header_and_2_2_claims(hot: HotPath) -> None:
    agent = hot.agent()
    answer = await granted(hot, agent)
    claims = read_by_another(hot, answer.token)
    assert jwt.get_unverified_header(answer.token) == {"alg": "ES256", "kid": "tokens-1", "typ": "at+jwt"}
    assert (claims["iss"], claims["aud"], claims["sub"], claims["client_id"]) == (SETTINGS.issuer, RESOURCE, RESEARCHER, RESEARCHER)
    assert (claims["scope"], claims["purp"], claims["txn"]) == ("search", "web.search.execute", answer.txn)
    assert claims["exp"] - claims["iat"] <= 60
    AccessTokenClaims.model_validate_json(json.dumps(claims))
    assert "tctx" not in claims
    assert "agentic_ctx" not in claims


async def test_8693_2_2_1_the_answer_says_what_it_is(hot: HotPath) -> None:
    answer = await granted(hot)
    assert (answer.token_type, answer.issued_token_type) == ("Bearer", "urn:ietf:params:oauth:token-type:access_token")
    record(hot, proof="dpop")
    assert (await granted(hot)).token_type == "DPoP"


async def test_8707_2_it_is_for_the_tools_resource_alone(hot: HotPath) -> None:
    with pytest.raises(jwt.InvalidAudienceError):
        read_by_another(hot, (await granted(hot)).token, "https://payments.88mph.com")


async def test_8693_4_1_actors_are_nested_the_present_one_outermost(hot: HotPath) -> None:
    parent = await granted(hot, tool="search-agent", actions=["delegate"])
    token = (await granted(hot, hot.agent(id=SEARCH, instance="i" + "c3" * 13), parent=parent.token)).token
    claims = read_by_another(hot, token)
    assert (claims["sub"], claims["act"]["sub"], claims["act"]["act"]["sub"]) == (RESEARCHER, SEARCH, RESEARCHER)
    assert "act" not in claims["act"]["act"]
    (past,) = at_the_guard(hot, token).act_chain
    assert past.jti == claims["act"]["act"]["jti"], "so that revoking the parent reaches it"


async def test_what_the_fabric_issued_its_own_verifier_takes(hot: HotPath) -> None:
    token = (await granted(hot)).token
    view = SimpleNamespace(behind=lambda _: False, revoked=lambda _: None)
    verified = verify_access_token(token, hot.table, view, issuer=SETTINGS.issuer, audience=RESOURCE, now=hot.clock.at)
    assert set(verified.targets) >= {target for target in at_the_guard(hot, token).targets if target != target_digest("user", RESEARCHER)}


async def test_the_guard_takes_it_for_this_call_alone(hot: HotPath) -> None:
    tool = known_to_the_guard(hot.table.tool("web-search"))
    token = at_the_guard(hot, (await granted(hot)).token)
    check_call(token, CALLED, tool, hot.clock.at)
    for other in (replace(CALLED, path="/search?q=else"), replace(CALLED, actions=("delete",)), replace(CALLED, method="POST")):
        with pytest.raises(Refused):
            check_call(token, other, tool, hot.clock.at)


async def test_9449_bound_where_the_tool_asks_for_proof(hot: HotPath) -> None:
    agent = hot.agent()
    assert "cnf" not in read_by_another(hot, (await granted(hot, agent)).token)
    tool = known_to_the_guard(record(hot, proof="dpop"))
    token = at_the_guard(hot, (await granted(hot, agent)).token)
    assert token.jkt == thumbprint(agent.key.public)
    url = "http://127.0.0.1:9004/search?q=flux"
    proof = make_proof(agent.key, "GET", url, token.raw, now=hot.clock.at)
    assert check_proof(token, replace(CALLED, proof=proof), tool, hot.clock.at) is not None


@pytest.mark.parametrize("taken", ["txn", "resource", "access_token", "jwt_svid"])
@pytest.mark.parametrize("shown", ["txn", "resource", "access_token", "jwt_svid"])
async def test_one_form_is_never_taken_for_another(hot: HotPath, shown: str, taken: str) -> None:
    """INVARIANT: a token of one form is worth nothing where another is taken: `typ` and audience both differ (RFC 9068 section 5).

    Broken by looking at one of the two alone, or at neither.
    """
    record(hot, token_form=shown)
    raw = (await granted(hot)).token
    tool = known_to_the_guard(record(hot, token_form=taken))
    alike = {"txn", "jwt_svid"}  # the same token; beside it the second wants the caller's SVID
    token = at_the_guard(hot, raw)
    if shown == taken or {shown, taken} == alike:
        check_call(token, CALLED, tool, hot.clock.at)
        return
    with pytest.raises(Refused) as refusal:
        check_call(token, CALLED, tool, hot.clock.at)
    assert refusal.value.reason is GuardReason.AUDIENCE


async def test_an_access_token_begins_nothing(hot: HotPath) -> None:
    agent = hot.agent()
    leaf = await granted(hot, agent)
    assert leaf.leaf is True
    await hot.gateway.invoke(agent.name, agent.body(hot.clock.at, parent=leaf.token), hot.clock.at)
    assert parse(Denied, hot.stream.messages[-1][1]).data.reason is DenyReason.PARENT_INVALID


async def test_a_guard_without_such_a_tool_takes_none(hot: HotPath) -> None:
    with pytest.raises(TokenRefused) as refusal:
        at_the_guard(hot, (await granted(hot)).token, (TOKEN_TYP,))
    assert refusal.value.reason is GuardReason.SIGNATURE


async def test_the_same_request_has_the_same_token(hot: HotPath) -> None:
    honest = await hot.allowed(hot.agent())
    assert await hot.mint.grant(honest) == await hot.new_mint().grant(honest)


async def test_7662_a_resource_server_without_a_guard_sees_a_revocation_by_asking(hot: HotPath) -> None:
    """INVARIANT: a token for a tool without a guard is inactive, for the tool that asks, as soon as what it rests on is revoked.

    Broken by minting what introspection does not know, or does not measure by the revocation view.
    """
    made = read_by_another(hot, (await granted(hot)).token)
    world = OAuthWorld()
    signer = Signer(kid="tool-1")
    fact_support.put(world.facts, client("tool", signer, protects=[RESOURCE], grant_types=[], scopes=[], ceilings={}))

    async def active() -> bool:
        proof = world.proven("tool", signer=signer)
        token = world.own({**made, "iss": world.settings.issuer, "iat": int(world.clock.at), "exp": int(world.clock.at) + 60}, "at+jwt")
        answer = await world.post("/oauth/introspect", {**proof, "token": token})
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert said["active"] is False or (said["aud"], said["act"]["sub"], said["scope"]) == (RESOURCE, RESEARCHER, "search")
        return said["active"]

    assert await active() is True
    world.revocations.hit.add(target_digest("instance", made["act"]["instance"]))
    assert await active() is False
    await world.recorder.close()


async def test_the_entry_of_a_status_list_is_in_it(hot: HotPath) -> None:
    record(hot, status_list=True, revocation="status_list")
    assert read_by_another(hot, (await granted(hot)).token)["status"]["status_list"].keys() == {"idx", "uri"}
