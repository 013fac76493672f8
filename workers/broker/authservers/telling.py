"""What RECORD says of tokens of other servers: intent before, result after, and what became of them.  The token itself nowhere."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal, Protocol
from uuid import uuid4

from weft.digest import sha256

from schemas.record import OBTAINED
from schemas.record import Obtained as ObtainedRecord
from streams.bus import event
from streams.subjects import RECORD
from workers.broker.authservers.held import Held, Served, Whose
from workers.common.recorder import RecordUnavailable

SOURCE = "/weft/broker"

State = Literal["asked", "got", "refused", "unknown", "revoked", "not_revoked"]


class Record(Protocol):
    """RECORD, to write."""

    async def record(self, subject: str, body: bytes, msg_id: str) -> int:
        """Commit one event; its sequence.  Raises RecordUnavailable."""


class Telling:
    """Writes them."""

    def __init__(self, record: Record) -> None:
        self._record = record

    async def say(self, state: State, whose: Whose, call: Served, *, held: Held | None = None, detail: str | None = None) -> int:
        """Its sequence, once it is committed.  Raises RecordUnavailable."""
        said = ObtainedRecord(
            state=state,
            server=whose.server,
            tool=whose.tool,
            by=whose.by,
            resource=whose.resource,
            scopes=whose.scopes,
            agent=whose.agent,
            instance=whose.instance,
            jti=call.jti,
            txn=call.txn,
            digest=None if held is None else sha256(held.token),
            expires_at=None if held is None else int(held.exp),
            detail=detail,
        )
        body = event(OBTAINED, said, source=SOURCE)
        return await self._record.record(RECORD.at("broker", "obtained", whose.server), body, f"broker:obtained:{uuid4().hex}")

    async def tell(self, state: State, held: Held, detail: str | None = None) -> None:
        """The same of what is done, or over: nothing waits for it."""
        with suppress(RecordUnavailable):
            await self.say(state, held.whose, held.calls[0], held=held, detail=detail)
