"""The broker's OAuth subject: a request that the edge received, answered as HTTP will be.

Each in a task of its own, within its deadline.  Views first: by a stale one nobody is a client, nor is a token live.  Then who asks, how
often, and whether it asked this before; only then what it asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from nats.aio.msg import Msg

from schemas.oauth import ANSWERED, ASKED, Answered, Asked, Refusal
from schemas.reasons import DenyReason
from streams.bus import HEADERS, CallerUnknown, Malformed, caller, event, parse
from workers.broker.oauth.clients import Authenticated, Here, authenticate
from workers.broker.oauth.failures import FailureRecords, claimed
from workers.broker.oauth.form import Form
from workers.broker.oauth.inspection import Inspection
from workers.broker.oauth.limits import ClientLimits
from workers.broker.oauth.nonces import ask_for_nonce
from workers.broker.oauth.parts import Parts
from workers.broker.oauth.recording import SOURCE
from workers.broker.oauth.refusals import OAuthRefused, not_authenticated, unavailable
from workers.broker.oauth.token import TokenEndpoint
from workers.common import log
from workers.common.recorder import RecordUnavailable
from workers.common.runtime import Runtime

MAX_DEADLINE_S = 5.0


class OAuthHandlers:
    """Between the bus and the endpoints."""

    def __init__(
        self, runtime: Runtime, parts: Parts, inspection: Inspection, accounts: Mapping[str, str], limits: ClientLimits | None = None
    ) -> None:
        self._runtime = runtime
        self._parts = parts
        self._token = TokenEndpoint(parts)
        self._inspection = inspection
        self._accounts = accounts
        self.failures = FailureRecords(parts.recording.not_authenticated, parts.clock)
        self._limits = limits or ClientLimits(parts.settings.oauth_limits)
        self._in_flight = parts.settings.oauth_limits.in_flight  # of this face; an invocation is worth more than a token request
        self._here = Here(parts.settings.issuer, parts.settings.trust_domain, parts.settings.mode)

    async def on_asked(self, msg: Msg) -> None:
        """The edge asks."""
        if msg.reply:
            self._runtime.handle(self._serve(msg), name="oauth")

    async def _serve(self, msg: Msg) -> None:
        answer = await self.answer(msg)
        await self._runtime.nc.publish(msg.reply, event(ANSWERED, answer, source=SOURCE), headers=HEADERS)

    async def answer(self, msg: Msg) -> Answered:
        """Never raises.  What is not a request by the edge is a bug or an attack, and hears 503."""
        try:
            caller(msg.headers, msg.subject, self._accounts)
            asked = parse(Asked, msg.data)
        except (CallerUnknown, Malformed):
            return refused(unavailable(DenyReason.MALFORMED))
        return refused(unavailable(DenyReason.MALFORMED)) if asked.type != ASKED else await self.reply(asked.data)

    async def reply(self, asked: Asked) -> Answered:
        """What the client hears, with the nonce for its next proof (RFC 9449 section 8.2).  Never raises."""
        answered, nonces = await self._replied(asked), self._parts.nonces
        if nonces is None or asked.endpoint != "token":
            return answered
        return answered.model_copy(update={"dpop_nonce": nonces.fresh(self._parts.clock.now())})

    async def _replied(self, asked: Asked) -> Answered:
        try:
            return await self._in_time(asked)
        except OAuthRefused as refusal:
            self._runtime.log.info(log.OAUTH_REFUSED, endpoint=asked.endpoint, reason=str(refusal.reason), id=asked.id)
            return refused(refusal)
        except RecordUnavailable:
            return refused(unavailable(DenyReason.RECORD_UNAVAILABLE))
        except TimeoutError:
            return refused(unavailable(DenyReason.DEADLINE_EXCEEDED))
        except Exception as error:  # noqa: BLE001 - promise 7: a bug denies; a traceback may hold the input
            self._runtime.log.error(log.REQUEST_FAILED, error=type(error).__name__)  # noqa: TRY400
            return refused(unavailable(DenyReason.INTERNAL))

    async def _in_time(self, asked: Asked) -> Answered:
        now = self._parts.clock.now()
        if not self._parts.views.fresh(now):
            raise unavailable(DenyReason.VIEW_STALE)
        if self._runtime.in_flight > self._in_flight:
            raise unavailable(DenyReason.TOO_MANY_IN_FLIGHT)
        async with asyncio.timeout(min(MAX_DEADLINE_S, asked.deadline - now)):
            return await self._answered(asked, now)

    async def _answered(self, asked: Asked, now: float) -> Answered:
        form = Form(asked.parameters)
        client = self._authenticated(asked, form, now)
        self._limits.check(asked.endpoint, client)
        if asked.endpoint == "token" and self._parts.nonces is not None:
            ask_for_nonce(asked, self._parts.nonces, now)
        if client.once is not None and not await self._parts.once.claim(client.once, now):
            self.failures.note(client.client, asked.address, replay=True)
            raise not_authenticated("the client assertion was used before")
        return await self._dispatch(asked, form, client)

    def _authenticated(self, asked: Asked, form: Form, now: float) -> Authenticated:
        facts = self._parts.views.facts
        try:
            return authenticate(asked, form, facts, self._here, now)
        except OAuthRefused as refusal:
            if refusal.reason is DenyReason.CLIENT_NOT_AUTHENTICATED:
                self.failures.note(claimed(form, facts), asked.address)
            raise

    async def _dispatch(self, asked: Asked, form: Form, client: Authenticated) -> Answered:
        match asked.endpoint:
            case "token":
                return await self._token.answer(asked, form, client)
            case "introspect":
                return self._inspection.introspect(form, client)
            case "revoke":
                return await self._inspection.revoke(form, client)


def refused(refusal: OAuthRefused) -> Answered:
    """RFC 6749 section 5.2."""
    body = Refusal(error=refusal.error, error_description=described(refusal.detail))
    return Answered.model_validate(
        {
            "status": refusal.status,
            "body": body.plain(),
            "challenge": refusal.challenge,
            "retry_after_s": refusal.retry_after_s,
        }
    )


def described(text: str) -> str:
    """The characters that `error_description` may hold: %x20-21, %x23-5B, %x5D-7E."""
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in text)[:512]
