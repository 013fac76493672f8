"""What is on record is told: a consumer on RECORD, of responses and revocations alone, puts each into the queues.

RECORD names people by digest.  A receiver has to be told whom: the person named by the signal that caused it (SIGNALS has it as received),
else whom the relation facts know by that digest; in the words of that person's own provider (`names_of`).  Who cannot be named is not told
of, and the log says so.

A message is acknowledged once everything that it causes waits in the queues; until then it comes again, later each time.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NATSError
from weft.digest import sha256, target_digest

from schemas.base import Wire
from schemas.envelope import CloudEvent
from schemas.points import SetDelivery
from schemas.record import RESPONDED, REVOKED, Responded, Revoked
from schemas.subject_ids import Simple
from streams.bus import Malformed, parse
from streams.facts import FactsView
from streams.subjects import SIGNAL
from workers.common import directget, log
from workers.signals.policy.assess import subject_of as read_subject
from workers.signals.policy.persons import Speaker
from workers.signals.policy.posture import OPERATOR
from workers.signals.transmitter.mapping import SILENT, Named, names_of, of_response, of_revocation
from workers.signals.transmitter.outbox import Outbox
from workers.signals.transmitter.ports import Unavailable
from workers.signals.transmitter.sets import Happening
from workers.signals.verify import SETRefused, VerifiedSET, Verify

ACK_S = 2.0
VIEW_S = 2.0
DataT = TypeVar("DataT", bound=Wire)
RETRIES_S = (0.2, 1.0, 2.0, 5.0, 15.0, 60.0)
logger = structlog.get_logger()


class Teller:
    """One message at a time; any number at once."""

    def __init__(self, nc: Client, facts: FactsView, outbox: Outbox, verify: Verify, *, issuer: str) -> None:
        """`issuer`: `iss` of the fabric's tokens."""
        self._nc = nc
        self._facts = facts
        self._outbox = outbox
        self._verify = verify
        self._issuer = issuer

    async def on_message(self, msg: Msg) -> None:
        """Never raises but to be cancelled."""
        try:
            await self._outbox.tell(await self._happened(msg.data))
            await msg.ack_sync(timeout=ACK_S)
        except NATSError:
            return  # delivered again, and told as before
        except Exception as error:  # noqa: BLE001 - a bug is no reason to keep it from everyone for good
            await _later(msg, type(error).__name__)

    async def _happened(self, body: bytes) -> list[Happening]:
        """Nothing for what is no event that we know: it is on record, and nobody is to be told."""
        responded = _read(Responded, RESPONDED, body)
        if responded is not None:
            return await self._responded(responded.data, _seconds(responded.time))
        revoked = _read(Revoked, REVOKED, body)
        return of_revocation(revoked.data, self._issuer, _seconds(revoked.time)) if revoked is not None else []

    async def _responded(self, told: Responded, at: int) -> list[Happening]:
        if told.response in SILENT or told.entry is not None or told.scope is None or told.target is None:
            return []
        if told.posture_revision:
            await self._facts.wait_for(told.posture_revision, VIEW_S)
        named = await self._named(told)
        posture = self._facts.table.posture(told.scope, told.target)  # type: ignore[arg-type]  # one of Scope
        happened = of_response(told, named, posture, at)
        if not happened:
            logger.warning(log.SUBJECT_UNNAMED, scope=told.scope)
        return happened

    async def _named(self, told: Responded) -> Named:
        scope = told.scope or ""
        if scope == "user":
            return Named(scope, user=await self._person(told))
        agent = told.agent
        if scope == "instance" and agent is None:
            said = await self._said(told)
            agent = read_subject(said.claims.sub_id, self._speaker(said)).workload if said is not None else None
        return Named(scope, told.value, agent)

    async def _person(self, told: Responded) -> tuple[Simple, ...]:
        """Whom the signal named, or whom the relation facts know by that digest."""
        said = await self._said(told)
        person = None if said is None else read_subject(said.claims.sub_id, self._speaker(said)).user
        if person is None or target_digest("user", person) != told.target:
            person = _person_of(self._facts, told.target or "")
        return () if person is None else names_of(person, self._facts.table.issuers())

    def _speaker(self, said: VerifiedSET) -> Speaker:
        return Speaker(said.transmitter, self._facts.table.issuers())

    async def _said(self, told: Responded) -> VerifiedSET | None:
        """The SET that caused it, verified again as of when SIGNALS took it.  Raises Unavailable."""
        if told.event == OPERATOR:
            return None
        try:
            found = await directget.last(self._nc, "SIGNALS", SIGNAL.at(sha256(told.iss), sha256(told.jti)))
        except directget.Unavailable as error:
            raise Unavailable(str(error)) from None
        if found is None:
            return None
        try:
            return await self._verify(parse(SetDelivery, found.body).data.set, _seconds(found.time))
        except (Malformed, SETRefused):
            return None


def _read(model: type[DataT], type_: str, body: bytes) -> CloudEvent[DataT] | None:
    try:
        said = parse(model, body)
    except Malformed:
        return None
    return said if said.type == type_ else None


def _person_of(facts: FactsView, digest: str) -> str | None:
    """Who of the people in the relation facts has that digest.  Looks at each: only commands about people come here."""
    names = {name for _, name in facts.table.people_related()}
    return next((name for name in names if target_digest("user", name) == digest), None)


def _seconds(time: str) -> int:
    """RFC 3339, to the second; the server writes nanoseconds, which Python does not read."""
    return int(datetime.fromisoformat(time[:19] + "+00:00").timestamp())


async def _later(msg: Msg, fault: str) -> None:
    delivered = msg.metadata.num_delivered
    logger.warning(log.REQUEST_FAILED, what="telling", error=fault, delivered=delivered)
    try:
        await msg.nak(delay=RETRIES_S[min(delivered, len(RETRIES_S)) - 1])
    except NATSError:
        return  # delivered again when its time has passed
