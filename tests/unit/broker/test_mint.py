"""The broker's own validation: what a gateway may say, and what it gets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from weft.digest import sha256, unb64u
from weft.nkey import KeyPair
from weft.token import verify_token

from schemas.decision import Decision
from schemas.facts import Relation
from schemas.invocation import Granted, InvocationRequest
from schemas.minting import MintRequest
from schemas.reasons import DenyReason
from schemas.record import Issued
from schemas.token import MAX_TOKEN_BYTES
from streams.bus import parse
from tests.support.hotpath import SETTINGS, HotPath
from tests.support.identities import user_claims
from tests.support.invocations import ADVISOR, AgentSide
from workers.broker.mint import NotAllowed
from workers.common.identity import IdentityRefused
from workers.common.recorder import Recorder, RecordUnavailable
from workers.common.requests import RequestRefused


@pytest.fixture
def hot() -> HotPath:
    return HotPath()


async def refused(hot: HotPath, mint: MintRequest) -> DenyReason:
    """The reason; and nothing was recorded, let alone signed."""
    before = len(hot.stream.messages)
    with pytest.raises((RequestRefused, IdentityRefused, NotAllowed)) as caught:
        await hot.mint.grant(mint)
    assert len(hot.stream.messages) == before
    return caught.value.reason


def changed(mint: MintRequest, **fields: Any) -> MintRequest:
    return mint.model_copy(update=fields)


def resigned(mint: MintRequest, agent: AgentSide, key: KeyPair | None = None, **payload: Any) -> MintRequest:
    """The same, with another signed request in it."""
    request = agent.sign(agent.payload(float(mint.received_at), **payload), key=key)
    return changed(mint, request=InvocationRequest(request=request, svid=mint.request.svid))


def payload_of(granted: Granted) -> dict[str, Any]:
    return json.loads(unb64u(granted.token.split(".")[1]))


async def test_what_the_gateway_asks_honestly_is_granted(hot: HotPath) -> None:
    agent = hot.agent()
    granted = await hot.mint.grant(await hot.allowed(agent, id="r-1"))
    keys = {hot.signer.kid: hot.signer._private.public_key()}
    token = verify_token(granted.token, keys, issuer=SETTINGS.issuer, audiences=("88mph.com",), now=hot.clock.at)
    assert (granted.request_id, token.txn, token.act.sub) == ("r-1", granted.txn, agent.id)
    assert (token.rev, token.facts) == (3, hot.table.revision)
    assert token.call.tool == "web-search"
    assert token.req_wl == SETTINGS.gateway_id


async def test_the_record_holds_what_was_signed(hot: HotPath) -> None:
    granted = await hot.mint.grant(await hot.allowed(hot.agent()))
    (subject, body), issued = hot.stream.messages[0], parse(Issued, hot.stream.messages[0][1]).data
    assert subject == "weft.record.broker.issued.88mph~com.agents.researcher"
    assert json.loads(issued.claims.wire()) == payload_of(granted)
    assert issued.kid == hot.signer.kid
    assert granted.token.encode() not in body


async def test_a_tool_that_asks_for_proof_is_told_to_the_agent(hot: HotPath) -> None:
    agent = hot.agent()
    assert (await hot.mint.grant(await hot.allowed(agent))).proof is None
    hot.put(hot.table.tool("web-search").model_copy(update={"proof": "dpop"}))
    assert (await hot.mint.grant(await hot.allowed(agent))).proof == "dpop"


async def test_a_token_gets_its_entry_before_it_is_recorded_and_signed(hot: HotPath) -> None:
    """INVARIANT: a tool that asks for status lists gets no token without an entry, and the entry knows all that could end the token.

    Broken by minting where no entry was given, or by leaving out who acted before: what is revoked would read VALID.
    """
    hot.put(hot.table.tool("web-search").model_copy(update={"status_list": True}))
    granted = await hot.mint.grant(await hot.allowed(hot.agent()))
    keys = {hot.signer.kid: hot.signer._private.public_key()}
    token = verify_token(granted.token, keys, issuer=SETTINGS.issuer, audiences=("88mph.com",), now=hot.clock.at)
    assert token.status == {"status_list": {"idx": 0, "uri": "https://txn-svc.88mph.com/status/1"}}
    (given,) = hot.statuses.given
    assert (set(given.targets), given.rev, given.exp) == (set(token.targets), token.rev, token.exp)
    hot.statuses.refuses = True
    assert await refused(hot, await hot.allowed(hot.agent())) is DenyReason.STATUS_UNAVAILABLE


# --- a gateway that lies -------------------------------------------------------------------------------------------------------------


async def test_a_forged_allow_gets_nothing(hot: HotPath) -> None:
    """INVARIANT: with the gateway's own credential an Allow for what the agent may not do gets nothing from the broker.

    Broken by a broker that takes the gateway's decision for its own.
    """
    agent = hot.agent()
    honest = await hot.allowed(agent)
    wanted = {"tool": "payments-processing", "actions": ["refund"], "purpose": "process.refund"}
    grant = honest.decision.grant.model_copy(update={"actions": ("refund",), "purpose": "process.refund"})
    forged = changed(resigned(honest, agent, **wanted), decision=honest.decision.model_copy(update={"grant": grant}))
    assert await refused(hot, forged) in (DenyReason.OUT_OF_CHARTER, DenyReason.OUT_OF_BOUNDS)


async def test_a_request_the_agent_did_not_sign_gets_nothing(hot: HotPath) -> None:
    """INVARIANT: a tool or a person swapped into a request, or a request by another key, gets nothing.

    Broken by verifying anything less than the text as the agent signed it, with the key of its SVID.
    """
    agent = hot.agent()
    honest = await hot.allowed(agent)
    head, _, signature = honest.request.request.split(".")
    other = agent.sign(agent.payload(hot.clock.at, tool="payments-processing")).split(".")[1]
    swapped_tool = changed(honest, request=honest.request.model_copy(update={"request": f"{head}.{other}.{signature}"}))
    assert await refused(hot, swapped_tool) is DenyReason.SIGNATURE_INVALID
    swapped_user = changed(honest, request=honest.request.model_copy(update={"user_token": "a.b.c"}))
    assert await refused(hot, swapped_user) is DenyReason.USER_TOKEN_INVALID
    swapped_parent = changed(honest, request=honest.request.model_copy(update={"parent_token": "a.b.c"}))
    assert await refused(hot, swapped_parent) is DenyReason.PARENT_INVALID
    assert await refused(hot, resigned(honest, agent, key=KeyPair("U"))) is DenyReason.SIGNATURE_INVALID


async def test_another_agents_svid_or_name_gets_nothing(hot: HotPath) -> None:
    agent, other = hot.agent(), hot.agent(instance="i" + "c3" * 13)
    honest = await hot.allowed(agent)
    stolen = changed(honest, request=honest.request.model_copy(update={"svid": other.svid(hot.clock.at)}), caller=other.name)
    assert await refused(hot, stolen) is DenyReason.SIGNATURE_INVALID
    assert await refused(hot, changed(honest, caller=other.name)) is DenyReason.CALLER_UNKNOWN


async def test_an_old_request_gets_nothing(hot: HotPath) -> None:
    """INVARIANT: a request kept for more than half a minute gets nothing, whatever the gateway says of the time.

    Broken by measuring its age with the gateway's clock.
    """
    honest = await hot.allowed(hot.agent())
    hot.clock.at += 36
    assert await refused(hot, honest) is DenyReason.REQUEST_STALE
    assert await refused(hot, changed(honest, received_at=int(hot.clock.at))) is DenyReason.REQUEST_STALE


async def test_a_gateway_whose_clock_is_wrong_gets_nothing(hot: HotPath) -> None:
    honest = await hot.allowed(hot.agent())
    assert await refused(hot, changed(honest, received_at=honest.received_at + 6)) is DenyReason.REQUEST_STALE


@pytest.mark.parametrize("outcome", ["deny", "step_up"])
async def test_a_gateway_that_does_not_allow_gets_nothing(hot: HotPath, outcome: str) -> None:
    honest = await hot.allowed(hot.agent())
    decision = Decision(outcome=outcome, reason=DenyReason.POLICY_DENIED, lines=(), facts_revision=honest.decision.facts_revision)
    assert await refused(hot, changed(honest, decision=decision)) is DenyReason.DECISION_MISMATCH


@pytest.mark.parametrize("less", [{"ttl_s": 1}, {"actions": ()}, {"purpose": "web.search.other"}, {"sub": "someone"}, {"single_use": True}])
async def test_the_gateways_word_narrows(hot: HotPath, less: dict[str, Any]) -> None:
    honest = await hot.allowed(hot.agent())
    decision = honest.decision.model_copy(update={"grant": honest.decision.grant.model_copy(update=less)})
    assert await refused(hot, changed(honest, decision=decision)) is DenyReason.DECISION_MISMATCH


# --- views ----------------------------------------------------------------------------------------------------------------------------


async def test_a_broker_never_decides_below_the_decisions_revision(hot: HotPath) -> None:
    honest = await hot.allowed(hot.agent())
    ahead = changed(honest, decision=honest.decision.model_copy(update={"facts_revision": hot.table.revision + 1}))
    assert await refused(hot, ahead) is DenyReason.VIEW_BEHIND
    assert hot.views.waited_for == [hot.table.revision + 1]


async def test_a_broker_never_mints_below_what_a_revocation_stands_for(hot: HotPath) -> None:
    """INVARIANT: no token carries a revocation counter whose postures its decision did not see.

    Broken by reading the facts before the revocation view's head of them was reached.
    """
    honest = await hot.allowed(hot.agent())
    hot.views.facts_needed = hot.table.revision + 5
    assert await refused(hot, honest) is DenyReason.VIEW_BEHIND


async def test_stale_views_mint_nothing(hot: HotPath) -> None:
    honest = await hot.allowed(hot.agent())
    hot.views.is_fresh = False
    assert await refused(hot, honest) is DenyReason.VIEW_STALE


# --- one request, one answer ------------------------------------------------------------------------------------------------------------


async def test_the_same_request_has_the_same_answer(hot: HotPath) -> None:
    """INVARIANT: the same id and digest yields the same token, from this broker, from another, and when both ask at once.

    Broken by minting per message, or by keeping the answer in one broker's memory alone.
    """
    honest = await hot.allowed(hot.agent())
    first, joined = await asyncio.gather(hot.mint.grant(honest), hot.mint.grant(honest))
    again = await hot.mint.grant(honest)
    elsewhere = await hot.new_mint().grant(changed(honest, explanation="another"))
    assert first == joined == again == elsewhere
    assert len(hot.stream.messages) == 1


async def test_the_same_id_for_another_request_is_refused(hot: HotPath) -> None:
    """INVARIANT: an id that stood for one request never stands for another, at this broker or at another.

    Broken by keying answers by id alone.
    """
    agent = hot.agent()
    await hot.mint.grant(await hot.allowed(agent, id="r-1"))
    other = await hot.allowed(agent, id="r-1", ttl_s=7)
    assert await refused(hot, other) is DenyReason.REQUEST_REUSED
    with pytest.raises(RequestRefused) as caught:
        await hot.new_mint().grant(other)
    assert caught.value.reason is DenyReason.REQUEST_REUSED
    assert len(hot.stream.messages) == 1


async def test_two_agents_may_choose_the_same_id(hot: HotPath) -> None:
    agents = [hot.agent(), hot.agent(instance="i" + "c3" * 13)]
    first, second = [await hot.mint.grant(await hot.allowed(agent, id="r-1")) for agent in agents]
    assert first.txn != second.txn


async def test_a_refusal_may_be_asked_again(hot: HotPath) -> None:
    honest = await hot.allowed(hot.agent())
    hot.views.is_fresh = False
    assert await refused(hot, honest) is DenyReason.VIEW_STALE
    hot.views.is_fresh = True
    assert isinstance(await hot.mint.grant(honest), Granted)


# --- the record comes first ----------------------------------------------------------------------------------------------------------


async def test_no_token_leaves_before_its_record_is_acknowledged(hot: HotPath) -> None:
    """INVARIANT: nothing is released that is not recorded (promise 4).

    Broken by answering, or signing, before the acknowledgement; or by taking a timeout for one.
    """
    hot.stream.gate = asyncio.Event()
    hot.recorder = Recorder(hot.stream, deadline_s=5)
    signed: list[object] = []
    issue, hot.signer.issue_token = hot.signer.issue_token, lambda committed: signed.append(committed) or issue(committed)
    asking = asyncio.create_task(hot.new_mint(record=hot.recorder).grant(await hot.allowed(hot.agent())))
    await asyncio.sleep(0.1)
    assert not asking.done()
    assert signed == []
    hot.stream.gate.set()
    assert isinstance(await asking, Granted)
    assert len(hot.stream.messages) == 1


async def test_a_record_that_takes_nothing_releases_nothing(hot: HotPath) -> None:
    honest = await hot.allowed(hot.agent())
    hot.stream.full = True
    with pytest.raises(RecordUnavailable):
        await hot.mint.grant(honest)
    hot.stream.full = False
    assert isinstance(await hot.mint.grant(honest), Granted)


async def test_an_id_planted_in_record_releases_nothing(hot: HotPath) -> None:
    agent = hot.agent()
    honest = await hot.allowed(agent, id="r-1")
    msg_id = f"broker:{sha256(f'{agent.name}' + chr(0) + 'r-1')}"
    await hot.recorder.record("weft.record.gateway.denied.x", b"{}", msg_id)
    with pytest.raises(RecordUnavailable):
        await hot.mint.grant(honest)


# --- what a token says --------------------------------------------------------------------------------------------------------------------


async def test_a_token_that_would_be_too_long_is_not_minted(hot: HotPath) -> None:
    honest = await hot.allowed(hot.agent(), intent_text="\u20ac" * 512)
    granted = await hot.mint.grant(honest)
    assert len(granted.token) <= MAX_TOKEN_BYTES
    long = HotPath({"web-search": {"resource": "https://web-search.88mph.com/" + "r" * 480}, "researcher": {"agent_type": "x" * 900}})
    assert await refused(long, await long.allowed(long.agent(), intent_text="\u20ac" * 512)) is DenyReason.TOO_LARGE


async def test_a_tool_that_asks_for_it_gets_a_leaf() -> None:
    hot = HotPath({"web-search": {"token_form": "resource"}})
    agent = hot.agent()
    leaf = await hot.mint.grant(await hot.allowed(agent))
    assert payload_of(leaf)["aud"] == "https://web-search.88mph.com"
    answer = json.loads(await hot.gateway.invoke(agent.name, agent.body(hot.clock.at, parent=leaf.token), hot.clock.at))
    assert answer["type"].endswith("refused.v1")
    assert json.loads(hot.stream.messages[-1][1])["data"]["reason"] == "parent_invalid"


async def test_the_intent_is_told_and_decides_nothing(hot: HotPath) -> None:
    granted = await hot.mint.grant(await hot.allowed(hot.agent(), intent_text="validate search services"))
    assert payload_of(granted)["agentic_ctx"]["intent"] == "validate search services"


async def test_a_person_stands_in_the_token_and_their_token_nowhere() -> None:
    hot = HotPath()
    user = hot.issuer.sign(user_claims(now=hot.clock.at, sub="marty", scope="check process.refund", client_id=ADVISOR), typ="at+jwt")
    hot.put(_issuer(hot))
    agent = hot.agent(id=ADVISOR)
    wanted = {"tool": "fraud-check", "actions": ["check"], "purpose": "process.refund"}
    granted = await hot.mint.grant(await hot.allowed(agent, user=user, **wanted))
    assert payload_of(granted)["sub"] == "marty"
    assert not any(user.encode() in body or user.split(".")[2].encode() in body for _, body in hot.stream.messages)


async def test_a_token_outlives_no_consent_however_long_minting_takes() -> None:
    """INVARIANT: no token lives longer than the consent it rests on (promise 3), though the broker mints seconds after the decision's time.

    Broken by counting the life that the decision gives from the moment of minting.
    """
    hot = HotPath()
    hot.put(_issuer(hot))
    ends = int(hot.clock.at) + 20
    hot.put(Relation(subject="user:marty", relation="delegates_to", object=f"agent:{ADVISOR}", expires_at=ends))
    user = hot.issuer.sign(user_claims(now=hot.clock.at, sub="marty", scope="check process.refund", client_id=ADVISOR), typ="at+jwt")
    wanted = {"tool": "fraud-check", "actions": ["check"], "purpose": "process.refund"}
    mint = await hot.allowed(hot.agent(id=ADVISOR), user=user, **wanted)
    hot.clock.at += 4
    assert payload_of(await hot.mint.grant(mint))["exp"] == ends


def _issuer(hot: HotPath) -> Any:
    from schemas.facts import UserIssuer

    return UserIssuer(iss="https://login.88mph.com", jwks={"keys": [hot.issuer.jwk]}, aud="https://fabric.88mph.com")
