"""One credential for one call: the egress shows the call's own token, and gets what that tool's record names, sealed to a one-time key.

1. It is the egress that asks: the server attests its account.  2. The views are fresh.  3. The token is ours: signature, issuer, audience,
times.  4. For this tool, whose record puts the egress before it.  5. Not revoked, by this broker's own view.  6. The credential that the
record names may be shown to the record's upstream; or the token that another server issues is for that upstream.  7. The record of it,
acknowledged.  8. The value, sealed.

The egress's word is the token alone: neither the credential's name nor the upstream is asked of it.  Does NOT check what the guard does
(the call's digest, chain, evidence, single use): the broker does not see the call.
"""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import uuid4

from nacl.public import PublicKey, SealedBox
from weft.claims import VerifiedToken
from weft.digest import b64u, unb64u
from weft.errors import TokenRefused
from weft.token import verify_token

from config.settings import Settings
from schemas.envelope import CloudEvent
from schemas.facts import Credential, Tool
from schemas.reasons import DenyReason
from schemas.record import RELEASED as RELEASED_EVENT
from schemas.record import Released as ReleasedRecord
from schemas.vault import RELEASED, Release, Released
from streams.bus import Caller, event
from streams.subjects import RECORD
from workers.broker.authservers.obtaining import Elsewhere
from workers.broker.ports import Views
from workers.broker.store import NotHeld, Store
from workers.common.clock import Clock
from workers.common.recorder import Recorder, RecordUnavailable
from workers.common.requests import RequestRefused
from workers.common.rpc import Refused
from workers.common.verification import RevocationsKnown, Verifier

SOURCE = "/weft/broker"


class Releases:
    """Answers `weft.release.<egress>`."""

    def __init__(
        self,
        views: Views,
        verifier: Verifier,
        revocations: RevocationsKnown,
        *,
        store: Store,
        recorder: Recorder,
        clock: Clock,
        settings: Settings,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._elsewhere = elsewhere
        self._views = views
        self._verifier = verifier
        self._revocations = revocations
        self._store = store
        self._recorder = recorder
        self._clock = clock
        self._settings = settings

    async def release(self, who: Caller, asked: CloudEvent[Release]) -> bytes:
        """Raises Refused."""
        if who.account != "EGRESS":  # 1
            raise Refused(DenyReason.CALLER_UNKNOWN, "not the egress")
        tool = self._tool(asked.data.tool)
        token = self._token(asked.data.token, tool)  # 2 to 5
        if tool.obtain is not None:
            value = await self._obtained(tool, token)  # 6, 7
        else:
            value = await self._kept(who, token, self._credential(tool))  # 6, 7
        self._check_revoked(token)  # it took time
        return event(RELEASED, Released(boxed=_sealed(value, asked.data.box_key)), source=SOURCE)  # 8

    async def _kept(self, who: Caller, token: VerifiedToken, fact: Credential) -> bytes:
        try:
            value = await self._store.value(fact)
        except NotHeld:
            raise Refused(DenyReason.BROKER_UNAVAILABLE, "the credential cannot be opened here") from None
        await self._record(who, token, fact)
        return value

    async def _obtained(self, tool: Tool, token: VerifiedToken) -> bytes:
        """What another authorization server issues for this tool's resource; its own record says of it what `Released` says of others."""
        if self._elsewhere is None:
            raise Refused(DenyReason.NOT_AUTHORIZED, "nothing is obtained here")
        try:
            return (await self._elsewhere.for_egress(tool.name, token)).token.encode()
        except RequestRefused as refused:
            raise Refused(refused.reason, refused.detail) from None
        except RecordUnavailable:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "RECORD did not acknowledge") from None

    def _tool(self, name: str) -> Tool:
        tool = self._views.facts.tool(name)
        if tool is None or tool.state != "active" or tool.egress is None or tool.workload != self._settings.egress_id:
            raise Refused(DenyReason.TOOL_UNKNOWN, "no tool of the egress")
        return tool

    def _token(self, unverified: str, tool: Tool) -> VerifiedToken:
        settings, now = self._settings, self._clock.now()
        if not self._views.fresh(now):  # 2
            raise Refused(DenyReason.VIEW_STALE, "this broker's views are not fresh")
        audience = settings.trust_domain if tool.token_form == "txn" else tool.resource
        try:
            token = verify_token(unverified, self._verifier.token_keys(now), issuer=settings.issuer, audiences={audience}, now=now)  # 3
        except TokenRefused as refused:
            raise Refused(DenyReason.PARENT_INVALID, f"the token does not verify: {refused.reason}") from None
        if (token.call.tool, token.call.workload, token.call.resource) != (tool.name, tool.workload, tool.resource):  # 4
            raise Refused(DenyReason.NOT_AUTHORIZED, "the token is for another tool")
        if not token.call.actions:  # a drill's
            raise Refused(DenyReason.NOT_AUTHORIZED, "the token allows nothing")
        self._check_revoked(token)  # 5
        return token

    def _check_revoked(self, token: VerifiedToken) -> None:
        if self._revocations.behind(token):
            raise Refused(DenyReason.VIEW_BEHIND, "the token was minted beyond this revocation view")
        if self._revocations.revoked(token) is not None:
            raise Refused(DenyReason.REVOKED, "the token is revoked")

    def _credential(self, tool: Tool) -> Credential:
        wanted = tool.egress
        name = wanted.credential if wanted is not None else None
        fact = self._views.facts.credential(name) if name is not None else None
        if wanted is None or fact is None:
            raise Refused(DenyReason.NOT_FOUND, "the vault has no such credential")
        if urlsplit(wanted.upstream).netloc.lower() not in fact.hosts:
            raise Refused(DenyReason.NOT_AUTHORIZED, "the credential is not for this upstream")
        return fact

    async def _record(self, who: Caller, token: VerifiedToken, fact: Credential) -> None:
        said = ReleasedRecord(
            tool=token.call.tool,
            credential=fact.name,
            version=fact.current,
            jti=token.jti,
            txn=token.txn,
            agent=token.act.sub,
            instance=token.act.instance,
            point=who.name,
        )
        body = event(RELEASED_EVENT, said, source=SOURCE)
        try:
            await self._recorder.record(RECORD.at("broker", "released", said.tool), body, f"broker:released:{uuid4().hex}")
        except RecordUnavailable:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "RECORD did not acknowledge") from None


def _sealed(value: bytes, box_key: str) -> str:
    try:
        return b64u(SealedBox(PublicKey(unb64u(box_key))).encrypt(value))
    except (ValueError, TypeError):
        raise Refused(DenyReason.MALFORMED, "not an X25519 key") from None
