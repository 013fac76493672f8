"""What the token endpoint puts on RECORD, before anything leaves (promise 4)."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from weft.digest import sha256
from weft.spiffeid import SpiffeID

from schemas.base import Wire
from schemas.record import (
    DENIED,
    EXCHANGED,
    ISSUED,
    NOT_AUTHENTICATED,
    NOT_EXCHANGED,
    Denied,
    Exchanged,
    Issued,
    NotAuthenticated,
    NotExchanged,
)
from streams.bus import event
from streams.subjects import RECORD
from workers.broker.oauth.clients import Authenticated
from workers.broker.ports import Record
from workers.broker.signer import Committed
from workers.common.recorder import Recorded, RecordUnavailable

SOURCE = "/weft/broker"
DENIAL_S = 0.5  # for a refusal: it is answered all the same, with 503 where RECORD does not take it


class Recording:
    """RECORD, for the token endpoint."""

    def __init__(self, record: Record) -> None:
        self._record = record

    async def issued(self, issued: Issued | Exchanged, client: Authenticated, typ: str) -> Committed:
        """Committed; only then can its claims be signed.  Raises RecordUnavailable, also for an id that was on record before."""
        type_, what = (ISSUED, "issued") if isinstance(issued, Issued) else (EXCHANGED, "exchanged")
        msg_id = f"broker:oauth:{issued.explanation}"
        recorded = await self._commit(type_, what, issued, client, msg_id)
        if recorded.duplicate:
            raise RecordUnavailable("the id of this request is another's")
        return Committed(issued.claims.wire(), recorded.seq, issued.kid, typ)

    async def refused(self, refused: Denied | NotExchanged, client: Authenticated) -> None:
        """Raises RecordUnavailable."""
        type_, what = (DENIED, "denied") if isinstance(refused, Denied) else (NOT_EXCHANGED, "notexchanged")
        try:
            async with asyncio.timeout(DENIAL_S):
                await self._commit(type_, what, refused, client, f"broker:oauth:denied:{uuid4().hex}")
        except TimeoutError:
            raise RecordUnavailable("RECORD did not acknowledge in time") from None

    async def not_authenticated(self, counted: NotAuthenticated) -> None:
        """Nobody's request waits for it.  Raises RecordUnavailable."""
        if counted.workload is not None:
            who = SpiffeID.parse(counted.workload).subject
        else:
            who = "unknown" if counted.client is None else f"client.{sha256(counted.client)}"
        msg_id = f"broker:notauthenticated:{uuid4().hex}"
        body = event(NOT_AUTHENTICATED, counted, source=SOURCE, id=msg_id)
        await self._record.commit(RECORD.at("broker", "notauthenticated", who), body, msg_id)

    async def _commit(self, type_: str, what: str, data: Wire, client: Authenticated, msg_id: str) -> Recorded:
        subject = RECORD.at("broker", what, _who(client))
        return await self._record.commit(subject, event(type_, data, source=SOURCE, id=msg_id), msg_id)


def _who(client: Authenticated) -> str:
    """The workload, else the client by its digest: an id is no subject token."""
    if client.workload is not None:
        return SpiffeID.parse(client.workload).subject
    return f"client.{sha256(client.client.client_id)}"
