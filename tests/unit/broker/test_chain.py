"""Transactions of more than one call: parents, evidence, and whose they are."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from weft.digest import object_digest, unb64u

from schemas.facts import UserIssuer
from schemas.invocation import Granted
from schemas.reasons import DenyReason
from schemas.record import USED, Denied, Used
from streams.bus import event, parse
from streams.subjects import RECORD
from tests.support.hotpath import HotPath
from tests.support.identities import user_claims
from tests.support.invocations import ADVISOR, RESEARCHER, SEARCH, AgentSide
from workers.broker.mint import NotAllowed
from workers.common.requests import RequestRefused

DELEGATE = {"tool": "search-agent", "actions": ["delegate"]}
FRAUD = {"tool": "fraud-check", "actions": ["check"], "purpose": "process.refund"}
REFUND = {"tool": "payments-processing", "actions": ["refund"], "purpose": "process.refund"}
OBJECT = object_digest({"order": "84729", "amount": "120"})


@pytest.fixture
def hot() -> HotPath:
    return HotPath()


def claims_of(granted: Granted) -> dict[str, Any]:
    return json.loads(unb64u(granted.token.split(".")[1]))


async def grant(hot: HotPath, agent: AgentSide, **changes: Any) -> Granted:
    return await hot.mint.grant(await hot.allowed(agent, **changes))


async def gateway_reason(hot: HotPath, agent: AgentSide, **changes: Any) -> DenyReason:
    await hot.gateway.invoke(agent.name, agent.body(hot.clock.at, **changes), hot.clock.at)
    return parse(Denied, hot.stream.messages[-1][1]).data.reason


async def delegated(hot: HotPath) -> tuple[AgentSide, Granted]:
    """The researcher's token for the search agent."""
    researcher = hot.agent()
    return researcher, await grant(hot, researcher, **DELEGATE)


async def test_a_child_continues_the_transaction_one_hop_further(hot: HotPath) -> None:
    researcher, parent = await delegated(hot)
    search = hot.agent(id=SEARCH, instance="i" + "c3" * 13)
    child = claims_of(await grant(hot, search, parent=parent.token))
    assert child["txn"] == parent.txn
    assert child["act"]["sub"] == SEARCH
    (past,) = child["act_chain"]
    assert (past["sub"], past["instance"], past["jti"]) == (RESEARCHER, researcher.instance, claims_of(parent)["jti"])
    assert child["exp"] <= claims_of(parent)["exp"]


async def test_a_sibling_continues_the_transaction_at_the_same_depth(hot: HotPath) -> None:
    researcher, parent = await delegated(hot)
    sibling = claims_of(await grant(hot, researcher, parent=parent.token))
    assert (sibling["txn"], sibling.get("act_chain", [])) == (parent.txn, [])


async def test_a_parent_counts_for_whom_it_was_addressed_to_alone(hot: HotPath) -> None:
    """INVARIANT: a token presented as a parent by anyone but its addressee, or the instance it was issued to, is refused.

    Broken by accepting any valid token as a parent.
    """
    researcher, parent = await delegated(hot)
    strangers = [hot.agent(id=ADVISOR, instance="i" + "d4" * 13), replace(researcher, instance="i" + "e5" * 13)]
    for stranger in strangers:
        assert await gateway_reason(hot, stranger, parent=parent.token) is DenyReason.PARENT_NOT_ADDRESSED
    honest = await hot.allowed(researcher, parent=parent.token)
    strange = strangers[1]
    lied = honest.model_copy(
        update={
            "request": honest.request.model_copy(update=strange.carried(hot.clock.at, parent=parent.token)),
            "caller": strange.name,
        }
    )
    with pytest.raises(RequestRefused) as caught:
        await hot.mint.grant(lied)
    assert caught.value.reason is DenyReason.PARENT_NOT_ADDRESSED


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("tampered", DenyReason.PARENT_INVALID),
        ("expired", DenyReason.PARENT_EXPIRED),
        ("revoked", DenyReason.PARENT_REVOKED),
        ("ahead", DenyReason.VIEW_BEHIND),
        ("key compromised", DenyReason.PARENT_INVALID),
    ],
)
async def test_a_parent_is_live_and_unrevoked(hot: HotPath, wrong: str, reason: DenyReason) -> None:
    researcher, parent = await delegated(hot)
    token = parent.token
    match wrong:
        case "tampered":
            head, payload, signature = token.split(".")
            token = f"{head}.{payload}.{signature[:-4]}AAAA"
        case "expired":
            hot.clock.at = float(claims_of(parent)["exp"])
        case "revoked":
            hot.revocations.hit.add(claims_of(parent)["jti"])
        case "ahead":
            hot.revocations.counter = 2
        case "key compromised":
            hot.put(hot._token_key().model_copy(update={"state": "compromised"}))
    assert await gateway_reason(hot, researcher, parent=token) is reason


async def test_a_revocation_between_gateway_and_broker_is_seen(hot: HotPath) -> None:
    researcher, parent = await delegated(hot)
    honest = await hot.allowed(researcher, parent=parent.token)
    hot.revocations.hit.add(claims_of(parent)["jti"])
    with pytest.raises(RequestRefused) as caught:
        await hot.mint.grant(honest)
    assert caught.value.reason is DenyReason.PARENT_REVOKED


# --- evidence ---------------------------------------------------------------------------------------------------------------------------


async def fraud_checked(hot: HotPath) -> tuple[AgentSide, Granted, dict[str, Any]]:
    """The advisor, on behalf of marty, has a token for the fraud check."""
    hot.put(UserIssuer(iss="https://login.88mph.com", jwks={"keys": [hot.issuer.jwk]}, aud="https://fabric.88mph.com"))
    claims = user_claims(now=hot.clock.at, sub="marty", scope="check refund", client_id=ADVISOR)
    user = hot.issuer.sign(claims, typ="at+jwt")
    advisor = hot.agent(id=ADVISOR)
    checked = await grant(hot, advisor, user=user, **FRAUD)
    return advisor, checked, {"user": user, "parent": checked.token, **REFUND}


async def reported(hot: HotPath, checked: Granted, *, who: str = "point", **changes: Any) -> int:
    """What the fraud check's guard reported, or what somebody pretends that it did."""
    claims = claims_of(checked)
    used = {
        "point": "i" + "f6" * 13 + ".88mph~com.tools.fraud",
        "tool": "fraud-check",
        "jti": claims["jti"],
        "txn": claims["txn"],
        "sub": "marty",
        "agent": ADVISOR,
        "instance": claims["act"]["instance"],
        "actions": ("check",),
        "accepted": True,
        "outcome": "positive",
        "object": OBJECT,
        "at": int(hot.clock.at),
        **changes,
    }
    body = event(USED, Used(**used), source="/weft/revocation")
    return await hot.recorder.record(RECORD.at(who, "used", used["point"]), body, f"point:{len(hot.stream.messages)}")


async def test_a_reported_step_becomes_evidence_in_the_token(hot: HotPath) -> None:
    advisor, checked, refund = await fraud_checked(hot)
    seq = await reported(hot, checked)
    claims = claims_of(await grant(hot, advisor, evidence=[seq], **refund))
    assert claims["evidence"] == [{"tool": "fraud-check", "seq": seq, "object": OBJECT, "at": int(hot.clock.at)}]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"txn": "another"}, DenyReason.EVIDENCE_INVALID),
        ({"accepted": False}, DenyReason.EVIDENCE_INVALID),
        ({"outcome": "negative"}, DenyReason.EVIDENCE_INVALID),
        ({"outcome": "none"}, DenyReason.EVIDENCE_INVALID),
        ({"object": None}, DenyReason.EVIDENCE_INVALID),
        ({"point": "i" + "f6" * 13 + ".88mph~com.tools.payments"}, DenyReason.EVIDENCE_INVALID),
        ({"who": "gateway"}, DenyReason.EVIDENCE_INVALID),
        ({"tool": "web-search"}, DenyReason.EVIDENCE_INVALID),
    ],
)
async def test_anything_else_is_no_evidence(hot: HotPath, changes: dict[str, Any], reason: DenyReason) -> None:
    """INVARIANT: a step counts only as its own guard reported it, for this transaction, accepted, with a positive outcome.

    Broken by believing the agent's word, another point's, or a report of something that did not go well.
    """
    advisor, checked, refund = await fraud_checked(hot)
    seq = await reported(hot, checked, **changes)
    with pytest.raises(RequestRefused) as caught:
        await grant(hot, advisor, evidence=[seq], **refund)
    assert caught.value.reason is reason


async def test_what_is_issued_but_not_used_is_no_evidence(hot: HotPath) -> None:
    advisor, _, refund = await fraud_checked(hot)
    with pytest.raises(RequestRefused) as caught:
        await grant(hot, advisor, evidence=[1], **refund)  # the record of the fraud check's own token
    assert caught.value.reason is DenyReason.EVIDENCE_INVALID


async def test_what_is_not_in_record_yet_is_pending(hot: HotPath) -> None:
    advisor, _, refund = await fraud_checked(hot)
    with pytest.raises(RequestRefused) as caught:
        await grant(hot, advisor, evidence=[99], **refund)
    assert caught.value.reason is DenyReason.EVIDENCE_PENDING


async def test_evidence_that_is_not_shown_is_missed(hot: HotPath) -> None:
    advisor, checked, refund = await fraud_checked(hot)
    assert await gateway_reason(hot, advisor, **refund) is DenyReason.EVIDENCE_MISSING
    honest = await hot.allowed(advisor, evidence=[await reported(hot, checked, at=int(hot.clock.at) - 61)], **refund)
    with pytest.raises(NotAllowed) as caught:
        await hot.mint.grant(honest)
    assert caught.value.reason is DenyReason.EVIDENCE_MISSING
