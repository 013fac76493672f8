"""Step 4: a hijacked agent, a thief, and a lying gateway; each is refused, and the record says why."""

from __future__ import annotations

import json
import time
from typing import Any

import nats
import nats.errors
from weft.digest import b64u, call_parts, unb64u
from weft.nkey import KeyPair

from schemas.decision import Decision
from schemas.envelope import CloudEvent
from schemas.facts import Kind, Tool
from schemas.invocation import InvocationRequest
from schemas.minting import MINT, MintAnswers, MintRequest, MintRequests
from streams.bus import event
from streams.subjects import INVOKE
from streams.subjects import MINT as MINT_SUBJECT
from workers.demo.calls import FRAUD_CHECK, PAY, post
from workers.demo.scene import ADVISOR, REFUND, Scene

PAYOUT: dict[str, Any] = {"tool": "payments-processing", "actions": ["payout"], "purpose": "process.refund", "path": "/payouts"}
PAYROLL: dict[str, Any] = {"tool": "payroll", "actions": ["read"], "purpose": "process.refund", "path": "/salaries"}


async def attacks(scene: Scene) -> None:
    """Every one must be refused with its reason."""
    scene.report.step(4, "Attacks, each refused with its reason")
    await _beyond_rights(scene)
    await _foreign_subjects(scene)
    await _copied_svid(scene)
    await _stolen_tokens(scene)
    await _single_use(scene)
    await _foreign_parent(scene)
    await _lying_gateway(scene)


async def _refused(scene: Scene, what: str, outcome: dict[str, Any], *expected: str) -> None:
    reason = "granted" if outcome.get("granted") else await scene.reason(outcome["explanation"])
    scene.report.check(reason in expected, what, reason)


async def _beyond_rights(scene: Scene) -> None:
    advisor, user_token = scene.actors["advisor"], scene.user_token()
    payroll = await advisor.ask("invoke", **PAYROLL, body={}, user_token=user_token)
    await _refused(scene, "a tool outside the charter", payroll, "out_of_charter")
    payout = await advisor.ask("invoke", **PAYOUT, body=REFUND, user_token=user_token)
    await _refused(scene, "an action the human may not do", payout, "user_lacks_right", "no_relation", "policy_denied")
    namesake = await advisor.ask("invoke", **FRAUD_CHECK, body=REFUND, user_token=scene.user_token(by=scene.partner))
    await _refused(scene, "the human's namesake, vouched for by another provider", namesake, "no_relation")


async def _foreign_subjects(scene: Scene) -> None:
    advisor = scene.actors["advisor"]
    other = (await scene.actors["researcher"].ask("who"))["name"]
    for what, subject in (("the broker's subject", MINT_SUBJECT.filter), ("another agent's subject", INVOKE.at(other))):
        refused = (await advisor.ask("publish", subject=subject))["refused"]
        scene.report.check(bool(refused) and "permissions violation" in refused.lower(), what, refused)


async def _copied_svid(scene: Scene) -> None:
    """The thief has the SVID's text and makes a connection with a key of his own."""
    svid = (await scene.actors["advisor"].ask("who"))["svid"]
    scene.kept["svid"] = svid
    refused = await cannot_connect(scene, svid)
    scene.report.check(refused, "a copied SVID with another key", await last_refusal(scene))


async def cannot_connect(scene: Scene, svid: str) -> bool:
    """Whether the server turns this SVID away on a key that is not its own."""

    async def ignore(_: Exception) -> None:
        """The refusal is the outcome, not an accident."""

    try:
        nc = await nats.connect(
            list(scene.stage.settings.servers),
            nkeys_seed_str=KeyPair("U").seed,
            token=f"agent {svid}",
            allow_reconnect=False,
            connect_timeout=5,
            error_cb=ignore,
        )
    except nats.errors.Error:
        return True
    await nc.close()
    return False


async def last_refusal(scene: Scene) -> str:
    """The reason of the newest refused admission on record."""
    reason = ""
    async for row in scene.stage.operator.replay(types=("org.weft.record.notadmitted.v1",)):
        reason = row["event"]["data"]["reason"]
    return reason


async def _granted_refund(scene: Scene, user_token: str) -> dict[str, Any]:
    """A fresh, unused token for the refund, with its evidence."""
    advisor = scene.actors["advisor"]
    checked = await advisor.ask("call", **FRAUD_CHECK, body=REFUND, user_token=user_token)
    options: dict[str, Any] = {"user_token": user_token, "parent": checked["token"], "evidence": [checked["evidence"]]}
    return await advisor.ask("invoke", **PAY, body=REFUND, **options)


async def _stolen_tokens(scene: Scene) -> None:
    user_token, stage = scene.user_token(), scene.stage
    fraud_token = (await scene.actors["advisor"].ask("invoke", **FRAUD_CHECK, body=REFUND, user_token=user_token))["token"]
    token = (await _granted_refund(scene, user_token))["token"]
    payments = f"http://127.0.0.1:{stage.ports['payments']}"
    body = json.dumps(REFUND, separators=(",", ":")).encode()
    other_order = body.replace(b"84729", b"84730")
    before = len(stage.served("payments"))
    for what, path, stolen, sent, expected in (
        ("the token for another tool", "/refunds", fraud_token, body, "wrong_tool"),
        ("the token for another order", "/refunds", token, other_order, "wrong_call"),
        ("the token with another body", "/refunds", token, body + b" ", "wrong_call"),
        ("the token for another action", "/payouts", token, body, "wrong_action"),
        ("a tampered token", "/refunds", tampered(token), body, "token_signature"),
    ):
        status, answer = await post(payments + path, stolen, sent)
        scene.report.check(status in (401, 403) and answer.get("error") == expected, what, answer)
    scene.report.check(len(stage.served("payments")) == before, "payments' ledger did not move")


def tampered(token: str) -> str:
    """The same token with an hour more to live, under its old signature."""
    head, payload, signature = token.split(".")
    claims = json.loads(unb64u(payload))
    longer = json.dumps({**claims, "exp": claims["exp"] + 3600}, separators=(",", ":"))
    return f"{head}.{b64u(longer.encode())}.{signature}"


async def _single_use(scene: Scene) -> None:
    """Two replicas of the tool, one token: one serves."""
    if scene.broken == 4:
        tool = await scene.fact(Kind.TOOL, "payments-processing")
        await scene.put(Tool.model_validate({**tool.model_dump(), "single_use": False}), reason="planted fault: tokens may be used twice")
    token = (await _granted_refund(scene, scene.user_token()))["token"]
    body = json.dumps(REFUND, separators=(",", ":")).encode()
    before = len(scene.stage.served("payments"))
    answers = [await post(f"http://127.0.0.1:{scene.stage.ports[name]}/refunds", token, body) for name in ("payments", "payments_replica")]
    served = len(scene.stage.served("payments")) - before
    refused = [answer["error"] for status, answer in answers if status != 200]
    scene.report.check(served == 1 and refused == ["token_replayed"], "a replayed single-use token, at the other replica", refused)


async def _foreign_parent(scene: Scene) -> None:
    """The token that the search agent was called with, presented by the advisor."""
    stolen = scene.stage.served("search-agent")[0]["token"]
    outcome = await scene.actors["advisor"].ask("invoke", **FRAUD_CHECK, body=REFUND, user_token=scene.user_token(), parent=stolen)
    await _refused(scene, "a parent presented by someone it was not addressed to", outcome, "parent_not_addressed")


async def _lying_gateway(scene: Scene) -> None:
    """With the gateway's own credential: a forged Allow over a request that its agent signed for something else."""
    me = await scene.actors["advisor"].ask("who")
    nc = await nats.connect(
        list(scene.stage.settings.servers),
        user_credentials=str(scene.stage.settings.creds / "gateway.creds"),
        inbox_prefix="_INBOX_gateway",
        allow_reconnect=False,
    )
    try:
        answer = await nc.request(
            MINT_SUBJECT.filter, forged_allow(me), timeout=5, headers={"Content-Type": "application/cloudevents+json"}
        )
    finally:
        await nc.close()
    (minted,) = CloudEvent[MintAnswers].model_validate_json(answer.data).data.answers
    scene.report.check(minted.granted is None, "a lying gateway: a forged Allow for a request the agent never signed", minted.refused)


def forged_allow(me: dict[str, Any]) -> bytes:
    """A message as only a gateway can send it, signed by a key that is not the agent's."""
    from weft.agent import sign_request

    thief = KeyPair("U")
    now = int(time.time())
    payload = {
        "id": "forged-1",
        "tool": "payments-processing",
        "actions": ["refund"],
        "purpose": "process.refund",
        "call": call_parts("POST", "/refunds", json.dumps(REFUND).encode()),
        "iat": now,
    }
    request = InvocationRequest(request=sign_request(payload, thief.public, thief.sign), svid=me["svid"])
    allow = Decision(outcome="allow", lines=(), facts_revision=0)
    mint = MintRequest(
        request=request, caller=me["name"], received_at=now, decision=allow, explanation="forged-1", deadline=time.time() + 5
    )
    return event(MINT, MintRequests(requests=(mint,)), source=ADVISOR)
