"""The callout: open, decide, record, answer.

The record of an admission is committed before the answer leaves.  Everything happens within the server's authorization timeout; what
does not, the server refuses by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from schemas.reasons import DenyReason
from streams.operator import AdmissionKeys
from workers.admission.callout import CalloutRequest, NotARequest, open_request, seal_answer, user_jwt
from workers.admission.decide import Admit, Fabric, Refuse, decide_admission
from workers.admission.recording import AdmissionRecord
from workers.admission.returning import Returning
from workers.admission.standing import Facts, lost_connection
from workers.common import log
from workers.common.clock import Clock
from workers.common.identity import TrustBundles
from workers.common.recorder import RecordUnavailable

DEADLINE_S = 1.7  # below streams.serverconf.AUTH_TIMEOUT_S, after which nobody hears the answer
logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Views:
    """What a decision reads."""

    facts: Facts
    bundles: TrustBundles
    fresh: Callable[[float], bool]
    fabric: Fabric


class Callout:
    """Answers authorization requests."""

    def __init__(self, keys: AdmissionKeys, views: Views, record: AdmissionRecord, clock: Clock) -> None:
        self._keys = keys
        self._views = views
        self._record = record
        self._clock = clock
        self._returning = Returning()

    async def answer(self, sealed: bytes, server_xkey: str) -> bytes | None:
        """The sealed answer; none for what is not a server's request."""
        try:
            request = open_request(sealed, server_xkey, self._keys, self._clock.now())
        except NotARequest as error:
            logger.warning(log.CALLOUT_REFUSED, cause=str(error))
            return None
        try:
            async with asyncio.timeout(DEADLINE_S):
                granted = await self._admit(request)
        except (TimeoutError, RecordUnavailable):
            logger.warning(log.CONNECTION_REFUSED, reason="record_unavailable")
            granted = None
        return seal_answer(request, self._keys, granted, self._clock.now())

    async def _admit(self, request: CalloutRequest) -> str | None:
        """The JWT of the connection, or none.  Raises RecordUnavailable.

        1. Decide, and whether this name comes too often.  2. Record.  3. While that was being committed the standing may have been lost,
        and a cut has perhaps looked for this connection in vain.
        """
        decision = self._decide(request)  # 1
        if isinstance(decision, Admit) and not self._returning.allow(decision.name, self._clock.now()):
            decision = Refuse(decision.kind, DenyReason.RATE_LIMITED, "it connects too often", id=decision.id)
        if isinstance(decision, Refuse):
            await self._refuse(request, decision)
            return None
        await self._record.admitted(request.user_nkey, decision)  # 2
        lost = lost_connection(decision.account, decision.name, self._views.facts)  # 3
        if lost is not None:
            await self._refuse(request, Refuse(decision.kind, lost.reason, lost.detail, id=decision.id))
            return None
        logger.info(log.CONNECTION_ADMITTED, kind=decision.kind, name=decision.name)
        return user_jwt(request, self._keys, decision, self._clock.now())

    def _decide(self, request: CalloutRequest) -> Admit | Refuse:
        now = self._clock.now()
        views = self._views
        return decide_admission(request.attempt, views.facts, views.bundles, views.fabric, now=now, fresh=views.fresh(now))

    async def _refuse(self, request: CalloutRequest, refuse: Refuse) -> None:
        logger.info(log.CONNECTION_REFUSED, kind=refuse.kind, id=refuse.id, reason=refuse.reason, detail=refuse.detail)
        await self._record.refused(request.user_nkey, refuse)
