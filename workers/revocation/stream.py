"""REVOCATIONS behind its port: reads by direct get, writes fenced by the stream's last sequence."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import TypeVar

from nats.aio.client import Client
from nats.errors import Error as NATSError

from schemas.base import Wire
from schemas.revocation import BEACON, BEACON_TYP, ENTRY, ENTRY_TYP, Beacon, Entry, Signed
from streams.bus import Malformed, PubAck, PublishConflict, Publisher, PublishFailed, event, parse
from streams.subjects import REVOCATION_BEACON, REVOCATION_ENTRY
from workers.common import directget
from workers.revocation.causes import Committed
from workers.revocation.ledger import BrokenLedger, Stored
from workers.revocation.ports import Fenced, Uncertain
from workers.revocation.signing import verify_own

STREAM = "REVOCATIONS"
SOURCE = "/weft/revocation"
PUBLISH_DEADLINE_S = 2.0  # less than a guard's budget: a writer that cannot write makes room
BEACON_TTL_S = 60
PayloadT = TypeVar("PayloadT", bound=Wire)


class NATSLedgerStream:
    """`ports.LedgerStream` and `ports.Covered` on the bus."""

    def __init__(self, nc: Client, publisher: Publisher, keys: Callable[[], Mapping[str, bytes]]) -> None:
        self._nc = nc
        self._publisher = publisher
        self._keys = keys  # the revocation keys of FACTS, by kid

    async def read(self) -> Stored:
        """What the stream holds.  Its last sequence is asked first: whatever is written after that fences who reads this."""
        try:
            last_seq, messages = await self._state()
            first = await directget.following(self._nc, STREAM, REVOCATION_ENTRY.filter, 1)
            last = await directget.last(self._nc, STREAM, REVOCATION_ENTRY.filter)
            beacon = await directget.last(self._nc, STREAM, REVOCATION_BEACON.filter)
        except (directget.Unavailable, NATSError) as error:
            raise Uncertain("REVOCATIONS did not answer") from error
        newest = max((found.seq for found in (last, beacon) if found is not None), default=0)
        if (beacon is not None or messages) and newest < last_seq and (beacon is not None or last is None):
            raise Uncertain("a replica lags behind its leader")  # beacons age away oldest first: one left means the newest is, too
        return Stored(
            last_seq=last_seq,
            first_entry=self._entry(first)[0] if first else None,
            last_entry=self._entry(last)[0] if last else None,
            last_entry_jws=self._entry(last)[1] if last else None,
            last_beacon=self._open(beacon.body, BEACON_TYP, Beacon)[0] if beacon else None,
        )

    async def first_entry(self) -> int | None:
        """The number of the first entry still stored."""
        found = await self._get(directget.following(self._nc, STREAM, REVOCATION_ENTRY.filter, 1))
        return None if found is None else self._entry(found)[0].n

    async def entry_at(self, seq: int) -> tuple[Entry, str]:
        """The entry at a sequence and its exact JWS."""
        found = await self._get(directget.at(self._nc, STREAM, seq))
        if found is None or found.subject != REVOCATION_ENTRY.filter:
            raise BrokenLedger(f"sequence {seq} holds no entry")
        return self._entry(found)

    async def postures_since(self, timestamp: str) -> dict[int | None, Committed]:
        """The entries committed since then that name a posture, by its revision."""
        try:
            found = [self._entry(m)[0] async for m in directget.since(self._nc, STREAM, REVOCATION_ENTRY.filter, timestamp)]
        except directget.Unavailable as error:
            raise Uncertain("REVOCATIONS did not answer") from error
        return {entry.posture: Committed(entry.n, float(entry.at)) for entry in found if entry.posture is not None}

    async def put_entry(self, jws: str, *, n: int, msg_id: str, after: int) -> tuple[int, bool]:
        """Commit it as the message after `after`."""
        body = event(ENTRY, Signed(jws=jws), source=SOURCE, id=f"entry:{n}")
        try:
            ack = await self._put(REVOCATION_ENTRY.at(), body, msg_id, after, None)
        except Fenced:
            await self._check_ours(body, after + 1)
            return after + 1, False
        return ack.seq, ack.duplicate

    async def put_beacon(self, jws: str, *, msg_id: str, after: int) -> int:
        """Commit it as the message after `after`; the server forgets it after a minute."""
        body = event(BEACON, Signed(jws=jws), source=SOURCE)
        try:
            await self._put(REVOCATION_BEACON.at(), body, msg_id, after, BEACON_TTL_S)
        except Fenced:
            await self._check_ours(body, after + 1)
        return after + 1

    def beacon_in(self, body: bytes) -> Beacon:
        """A beacon as it was republished.  Raises BrokenLedger."""
        return self._open(body, BEACON_TYP, Beacon)[0]

    def entry_in(self, body: bytes) -> Entry:
        """An entry as it was republished.  Raises BrokenLedger."""
        return self._open(body, ENTRY_TYP, Entry)[0]

    async def _put(self, subject: str, body: bytes, msg_id: str, after: int, ttl_s: int | None) -> PubAck:
        try:
            return await self._publisher.publish(
                STREAM, subject, body, msg_id=msg_id, expected_last_seq=after, ttl_s=ttl_s, deadline_s=PUBLISH_DEADLINE_S
            )
        except PublishConflict as error:
            raise Fenced from error
        except PublishFailed as error:
            raise Uncertain("REVOCATIONS did not acknowledge") from error

    async def _check_ours(self, body: bytes, seq: int) -> None:
        """The server judges the expected sequence before the message id (measured, 2.15.1): what our own repeated attempt met may be
        our first one, whose acknowledgement was lost.  Raises Fenced where it is not.
        """
        found = await self._get(directget.at(self._nc, STREAM, seq))
        if found is None or found.body != body:
            raise Fenced

    async def _state(self) -> tuple[int, int]:
        """The stream's last sequence, from its leader, and how many messages it holds."""
        answer = await self._nc.request(f"$JS.API.STREAM.INFO.{STREAM}", b"", timeout=directget.DEADLINE_S)
        state = json.loads(answer.data).get("state")
        if state is None:
            raise Uncertain("REVOCATIONS has no leader")
        return int(state["last_seq"]), int(state["messages"])

    async def _get(self, getting: Coroutine[None, None, directget.Stored | None]) -> directget.Stored | None:
        try:
            return await getting
        except directget.Unavailable as error:
            raise Uncertain("REVOCATIONS did not answer") from error

    def _entry(self, found: directget.Stored) -> tuple[Entry, str]:
        return self._open(found.body, ENTRY_TYP, Entry)

    def _open(self, body: bytes, typ: str, model: type[PayloadT]) -> tuple[PayloadT, str]:
        try:
            jws = parse(Signed, body).data.jws
        except Malformed as error:
            raise BrokenLedger(f"a stored {typ} is malformed") from error
        return verify_own(jws, typ, model, self._keys()), jws
