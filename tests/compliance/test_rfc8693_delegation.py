"""RFC 8693, delegation of a person to an agent on the bus: sections 1.1, 2.1, 4.1, 4.2 and 4.4.

The subject token is the person's, the actor token is the agent's SVID; both arrive in one signed request.  Who may be confused how, is
tests/unit/promises/test_confused_deputy.py; the exchange over HTTP is tests/compliance/test_txn_tokens.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from weft.accesstoken import parse_access_claims
from weft.claims import parse_claims
from weft.digest import target_digest, unb64u

from schemas.facts import Posture, Relation, UserIssuer
from schemas.invocation import Granted
from schemas.reasons import DenyReason
from schemas.record import Denied, Issued
from streams.bus import parse
from tests.support.hotpath import HotPath
from tests.support.identities import user_claims
from tests.support.invocations import ADVISOR, RESEARCHER, SEARCH, AgentSide

CHECK = {"tool": "fraud-check", "actions": ["check"], "purpose": "process.refund"}
SEARCHING = {"tool": "web-search", "actions": ["search"], "purpose": "web.search.execute"}
DELEGATE = {"tool": "search-agent", "actions": ["delegate"], "purpose": "web.search.execute"}
FABRIC, LOGIN = "https://fabric.88mph.com", "https://login.88mph.com"


@pytest.fixture
def hot() -> HotPath:
    made = HotPath()
    made.put(UserIssuer(iss=LOGIN, jwks={"keys": [made.issuer.jwk]}, aud=FABRIC))
    return made


def subject_token(hot: HotPath, **claims: Any) -> str:
    """Marty's, made out to the advisor, changed."""
    made = {"sub": "marty", "scope": "check refund", "client_id": ADVISOR, **claims}
    return hot.issuer.sign(user_claims(now=hot.clock.at, **made), typ="at+jwt")


async def granted(hot: HotPath, agent: AgentSide, **asked: Any) -> Granted:
    return await hot.mint.grant(await hot.allowed(agent, **asked))


async def refused(hot: HotPath, agent: AgentSide, **asked: Any) -> DenyReason:
    await hot.gateway.invoke(agent.name, agent.body(hot.clock.at, **asked), hot.clock.at)
    return parse(Denied, hot.stream.messages[-1][1]).data.reason


def claims_of(answer: Granted) -> dict[str, Any]:
    return json.loads(unb64u((answer.token or "").split(".")[1]))


async def test_1_1_delegation_and_never_impersonation(hot: HotPath) -> None:
    """INVARIANT: a token that an agent obtained for a person names both, the person as subject and the agent as who acts.

    Broken by a token from which nobody could tell that it was not the person.
    """
    advisor = hot.agent(id=ADVISOR)
    claims = claims_of(await granted(hot, advisor, user=subject_token(hot), **CHECK))
    assert (claims["sub"], claims["act"]["sub"], claims["act"]["instance"]) == ("marty", ADVISOR, advisor.instance)


async def test_2_1_the_subject_token_is_no_part_of_what_is_issued_or_recorded(hot: HotPath) -> None:
    token = subject_token(hot)
    answer = await granted(hot, hot.agent(id=ADVISOR), user=token, **CHECK)
    (_, body), *_ = hot.stream.messages
    issued = parse(Issued, body).data
    assert issued.input.user is not None
    assert issued.input.user.sub == "marty"
    signature = token.split(".")[2]
    assert signature.encode() not in body
    assert signature not in (answer.token or "")


async def test_2_1_an_actor_that_is_not_the_caller_cannot_be_named(hot: HotPath) -> None:
    """The actor token is the SVID of the connection: there is no other parameter to name an actor with."""
    assert await refused(hot, hot.agent(id=ADVISOR), user=subject_token(hot), actor_token="a.b.c", **CHECK) is DenyReason.MALFORMED


async def test_4_1_the_outermost_actor_acts_and_those_before_are_kept_in_order(hot: HotPath) -> None:
    hot.put(Relation(subject="user:marty", relation="operates", object="toolgroup:search"))
    hot.put(Relation(subject="user:marty", relation="delegates_to", object=f"agent:{RESEARCHER}"))
    hot.put(hot.table.tool("web-search").model_copy(update={"token_form": "access_token"}))
    user = subject_token(hot, client_id=RESEARCHER, scope="web.search.execute")
    first = await granted(hot, hot.agent(), user=user, **DELEGATE)
    second = claims_of(await granted(hot, hot.agent(id=SEARCH, instance="i" + "c3" * 13), parent=first.token, **SEARCHING))
    assert second["sub"] == "marty"
    assert (second["act"]["sub"], second["act"]["act"]["sub"]) == (SEARCH, RESEARCHER)
    assert not {"exp", "nbf", "aud"} & (second["act"].keys() | second["act"]["act"].keys()), "claims without a meaning in act"


BEFORE = {"sub": "spiffe://88mph.com/services/before", "iss": LOGIN, "act": {"sub": "app"}}


async def test_4_1_a_subject_token_in_which_the_agent_acts_already(hot: HotPath) -> None:
    """INVARIANT: whoever acted before the first call stands in every token of the transaction, as the person's token said, and ends it.

    Broken by a token that begins its actors anew, or by a step that forgets whom the one before it knew.
    """
    hot.put(Relation(subject="user:marty", relation="operates", object="toolgroup:search"))
    hot.put(Relation(subject="user:marty", relation="delegates_to", object=f"agent:{RESEARCHER}"))
    user = subject_token(hot, client_id=RESEARCHER, scope="web.search.execute", act={"sub": RESEARCHER, "act": BEFORE})
    first = await granted(hot, hot.agent(), user=user, **DELEGATE)
    assert claims_of(first)["act"].get("act") == BEFORE
    callee = hot.agent(id=SEARCH, instance="i" + "c3" * 13)
    plain = claims_of(await granted(hot, callee, parent=first.token, **SEARCHING))
    assert plain["act"].get("act") == BEFORE
    verified = parse_claims(plain, raw="", digest="", kid="tokens-1")
    assert {target_digest("agent", BEFORE["sub"]), target_digest("namespace", "spiffe://88mph.com/services")} <= set(verified.targets)
    hot.put(hot.table.tool("web-search").model_copy(update={"token_form": "access_token"}))
    form = claims_of(await granted(hot, callee, parent=first.token, **SEARCHING))
    assert form["act"]["act"]["sub"] == RESEARCHER
    assert form["act"]["act"].get("act") == BEFORE
    read = parse_access_claims(form, raw="", digest="", kid="tokens-1")
    assert set(verified.targets) - {target_digest("token", verified.jti)} <= set(read.targets)
    hot.put(Posture(scope="agent", target=target_digest("agent", BEFORE["sub"]), level="quarantined", causes=()))
    assert await refused(hot, callee, parent=first.token, **SEARCHING) is DenyReason.QUARANTINED


async def test_4_1_agents_that_acted_before_need_the_consent_too(hot: HotPath) -> None:
    token = subject_token(hot, act={"sub": ADVISOR, "act": {"sub": RESEARCHER}})
    assert await refused(hot, hot.agent(id=ADVISOR), user=token, **CHECK) is DenyReason.POLICY_DENIED, "context.user_delegates"
    hot.put(Relation(subject="user:marty", relation="delegates_to", object=f"agent:{RESEARCHER}"))
    assert claims_of(await granted(hot, hot.agent(id=ADVISOR), user=token, **CHECK))["act"]["act"] == {"sub": RESEARCHER}


@pytest.mark.parametrize("before", [{"sub": "app", "exp": 1}, "app", {}])
async def test_4_1_an_act_that_could_not_be_copied_whole_refuses_the_token(hot: HotPath, before: Any) -> None:
    token = subject_token(hot, act={"sub": ADVISOR, "act": before})
    assert await refused(hot, hot.agent(id=ADVISOR), user=token, **CHECK) is DenyReason.USER_TOKEN_INVALID


async def test_4_4_a_token_of_ones_own_that_lets_another_act(hot: HotPath) -> None:
    token = subject_token(hot, may_act={"sub": RESEARCHER})
    assert await refused(hot, hot.agent(id=ADVISOR), user=token, **CHECK) is DenyReason.USER_TOKEN_INVALID


async def test_4_2_scope_is_a_list_and_bounds_what_is_granted(hot: HotPath) -> None:
    claims = claims_of(await granted(hot, hot.agent(id=ADVISOR), user=subject_token(hot, scope="openid check"), **CHECK))
    assert claims["call"]["actions"] == ["check"]
    assert claims["tctx"]["actions"] == ["check"]
    assert await refused(hot, hot.agent(id=ADVISOR), user=subject_token(hot, scope="openid"), **CHECK) is DenyReason.USER_LACKS_RIGHT


@pytest.mark.parametrize("beside", [{}, {"iss": LOGIN}, {"iss": FABRIC}])
async def test_4_4_may_act_names_who_may(hot: HotPath, beside: dict[str, str]) -> None:
    token = subject_token(hot, client_id="frontend", may_act={"sub": ADVISOR, **beside})
    assert claims_of(await granted(hot, hot.agent(id=ADVISOR), user=token, **CHECK))["sub"] == "marty"


@pytest.mark.parametrize("may_act", [{"sub": RESEARCHER}, {"sub": ADVISOR, "iss": "https://elsewhere"}, {"iss": LOGIN}, ADVISOR, None])
async def test_4_4_may_act_names_nobody_else(hot: HotPath, may_act: Any) -> None:
    token = subject_token(hot, client_id="frontend", may_act=may_act)
    assert await refused(hot, hot.agent(id=ADVISOR), user=token, **CHECK) is DenyReason.USER_TOKEN_INVALID


async def test_5_the_subject_token_is_no_longer_than_what_is_issued(hot: HotPath) -> None:
    """Section 5: a delegated token is no way to outlive the person's."""
    claims = claims_of(await granted(hot, hot.agent(id=ADVISOR), user=subject_token(hot, exp=int(hot.clock.at) + 9), **CHECK))
    assert claims["exp"] <= hot.clock.at + 9
