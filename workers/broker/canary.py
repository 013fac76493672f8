"""Canary tokens for drills: real ones, by the fabric's own key, that allow nothing.  Pure but for what `Canaries` does with them.

Such a token names no action, binds a call that nobody can make, and its ceiling is empty: no guard serves it (step 5), and as a parent
it allows no child.  It is on RECORD, under a type of its own, before it leaves: it rests on no decision, and none is computed again for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from secrets import token_bytes
from typing import Any

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from weft.digest import b64u

from config.settings import Settings
from schemas.drills import CANARY_MINTED, CANARY_PATH, CanaryMinted, CanaryWanted
from schemas.facts import Tool
from schemas.reasons import DenyReason
from schemas.record import CANARY_ISSUED, CanaryIssued
from schemas.token import DEFAULT_TTL_S, TokenClaims
from streams.bus import event, parse
from streams.subjects import RECORD
from workers.broker.ports import Record, Signer, Views
from workers.broker.signer import Committed
from workers.common.clock import Clock
from workers.common.recorder import RecordUnavailable
from workers.common.requests import RequestRefused
from workers.common.rpc import Refused, answered, respond

SOURCE = "/weft/broker"
FORMS = ("txn", "resource")  # what a guard verifies as a Transaction Token by itself
PURPOSE = "weft.drill"


def canary_claims(
    wanted: CanaryWanted, tool: Tool, *, settings: Settings, now: int, rev: int, facts: int, fresh_id: Callable[[], str]
) -> dict[str, Any]:
    """As `schemas.token.TokenClaims` orders them."""
    agent = f"spiffe://{settings.trust_domain}/{CANARY_PATH}"
    return {
        "iss": settings.issuer,
        "aud": settings.trust_domain if tool.token_form == "txn" else tool.resource,
        "iat": now,
        "exp": now + DEFAULT_TTL_S,
        "jti": fresh_id(),
        "txn": fresh_id(),
        "sub": agent,
        "scope": PURPOSE,
        "purp": PURPOSE,
        "req_wl": settings.gateway_id,
        "rctx": {"drill": wanted.drill},
        "tctx": {"purposes": [], "tools": [], "actions": [], "authorization_details": [], "depth": 0},
        "call": {
            "tool": tool.name,
            "workload": tool.workload,
            "resource": tool.resource,
            "actions": [],
            "bound": ["method", "path", "body"],
            "digest": b64u(token_bytes(32)),
            "single_use": tool.single_use,
        },
        "act": {"sub": agent, "instance": wanted.instance},
        "act_chain": [],
        "agentic_ctx": {},
        "evidence": [],
        "cnf": {"jkt": b64u(token_bytes(32))},
        "rev": rev,
        "facts": facts,
    }


class Canaries:
    """Mints them, for `revocation` alone (the access table says so)."""

    def __init__(
        self, *, views: Views, record: Record, signer: Signer, clock: Clock, settings: Settings, fresh_id: Callable[[], str]
    ) -> None:
        self._views = views
        self._record = record
        self._signer = signer
        self._clock = clock
        self._settings = settings
        self._fresh_id = fresh_id

    async def answer(self, wanted: CanaryWanted) -> bytes:
        """`CANARY_MINTED`, or raises Refused."""
        now = self._clock.now()
        if not self._views.fresh(now):
            raise Refused(DenyReason.VIEW_STALE, "the broker's views are not fresh")
        tool = self._views.facts.tool(wanted.tool)
        if tool is None or tool.state != "active" or tool.token_form not in FORMS:
            raise Refused(DenyReason.TOOL_UNKNOWN, "no active tool that takes Transaction Tokens")
        kid = self._signer.kid
        rev, facts = self._views.revocations, self._views.facts.revision
        claims = canary_claims(wanted, tool, settings=self._settings, now=int(now), rev=rev, facts=facts, fresh_id=self._fresh_id)
        payload = orjson.dumps(claims)
        issued = CanaryIssued(drill=wanted.drill, claims=TokenClaims.model_validate_json(payload), kid=kid)
        id_ = f"broker:canary:{claims['jti']}"
        body = event(CANARY_ISSUED, issued, source=SOURCE, id=id_)
        try:
            recorded = await self._record.commit(RECORD.at("broker", "canaryissued", "drill"), body, id_)
        except RecordUnavailable:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "RECORD did not acknowledge") from None
        try:
            token = self._signer.issue_token(Committed(payload, recorded.seq, kid))
        except RequestRefused as refused:
            raise Refused(refused.reason, refused.detail) from None
        return event(CANARY_MINTED, CanaryMinted(token=token), source=SOURCE)


def on_canary(canaries: Canaries, nc: Client, handle: Callable[[Coroutine[Any, Any, None]], object]) -> Callable[[Msg], Awaitable[None]]:
    """The callback of the subscription; each request in a task of its own (`handle`)."""

    async def reply(msg: Msg) -> None:
        async def answer() -> bytes:
            return await canaries.answer(parse(CanaryWanted, msg.data).data)

        await respond(nc, msg, await answered(answer, SOURCE))

    async def on_message(msg: Msg) -> None:
        handle(reply(msg))

    return on_message
