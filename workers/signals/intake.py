"""SETs and points' own signals on their way in: verified, stored exactly as received, then acknowledged.  RFC 8935 section 2.

A SET is stored once, under a subject of its issuer and its `jti`: create-if-absent, for as long as SIGNALS keeps it.  Delivered again
it is answered as the first time (RFC 8935 section 2.3) and nothing more happens.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from typing import Any, Literal

import structlog
from weft.digest import sha256
from weft.spiffeid import InvalidSpiffeID

from config.settings import Settings
from schemas.facts import Subscription, Transmitter
from schemas.points import SET_DELIVERED, PointSignal, SetAnswer, SetDelivery
from schemas.reasons import DenyReason
from schemas.record import Signalled
from schemas.signals import POINTS
from streams.bus import Caller, PublishConflict, Publisher, PublishFailed, event
from streams.facts_table import FactsTable
from streams.subjects import SIGNAL, parse_connection_name
from workers.common import log
from workers.common.buckets import Buckets
from workers.common.clock import Clock
from workers.common.recorder import RecordUnavailable
from workers.common.rpc import Refused
from workers.signals.proof import NoProof, proven
from workers.signals.receipts import Signer
from workers.signals.receiver.arrival import check_push, check_stream
from workers.signals.receiver.secrets import Secrets
from workers.signals.receiver.transmitters import KeysUnavailable, Transmitters
from workers.signals.recording import SOURCE, Recording
from workers.signals.verify import HELD_BACK_S, MAX_AGE_S, SETRefused, VerifiedSET
from workers.signals.voice import Risk, Voice

STREAM = "SIGNALS"
STORE_DEADLINE_S = 4.0
NOTICES_A_MINUTE = 60  # of one point
REFUSALS_RECORDED = 0.5, 60.0  # of one transmitter's, and of nobody's: a second in the long run, and at once; all are logged
logger = structlog.get_logger()
Background = Callable[[Coroutine[Any, Any, None]], object]


class Intake:
    """The two ways in."""

    def __init__(
        self,
        facts: FactsTable,
        publisher: Publisher,
        *,
        recording: Recording,
        signer: Signer,
        clock: Clock,
        background: Background,
        settings: Settings,
        transmitters: Transmitters,
        secrets: Secrets,
        streams_of: Callable[[str], Collection[str]],
    ) -> None:
        """`streams_of`: the ids of our streams at a transmitter."""
        self._facts = facts
        self._publisher = publisher
        self._recording = recording
        self._clock = clock
        self._settings = settings
        self._transmitters = transmitters
        self._secrets = secrets
        self._streams_of = streams_of
        self.voice = Voice(facts.transmitter, store=self._store, recording=recording, signer=signer, clock=clock)
        self._background = background  # runs what the answer does not wait for
        self._refusals = Buckets(*REFUSALS_RECORDED)
        self._notices = Buckets(NOTICES_A_MINUTE / 60, NOTICES_A_MINUTE)
        self._paces: dict[str, tuple[int, Buckets]] = {}

    async def deliver(self, who: Caller, delivered: SetDelivery) -> SetAnswer:
        """A SET, by a person who may bring one or by the edge.  Raises Refused where it is good and could not be stored."""
        subscription = None
        try:
            self._check_may_bring(who)
            if delivered.subscription is not None:
                subscription = self._facts.subscription(delivered.subscription)
                check_push(delivered, subscription, self._secrets)
        except SETRefused as refused:
            return self._refused(who.name, refused, delivered.set)
        return await self.accept(delivered.set, subscription, who.name)

    async def accept(self, unverified: str, subscription: Subscription | None, by: str) -> SetAnswer:
        """A SET that came on that stream of ours, or on none.  Raises Refused as `deliver`."""
        try:
            max_age_s = MAX_AGE_S if subscription is None else HELD_BACK_S
            verified = await self._transmitters.verify(unverified, self._clock.now(), max_age_s=max_age_s)
            streams = self._streams_of(verified.claims.iss)
            check_stream(verified, subscription, streams, self._secrets, self._clock.now())
        except KeysUnavailable as unavailable:
            raise Refused(DenyReason.TRANSMITTER_UNAVAILABLE, str(unavailable)) from None
        except SETRefused as refused:
            return self._refused(by, refused, unverified)
        self._check_pace(verified.transmitter)
        await self._store(verified, unverified, by)
        self._background(self._keep_fresh(verified.claims.iss))
        return SetAnswer(accepted=True)

    def _refused(self, by: str, refused: SETRefused, unverified: str) -> SetAnswer:
        self._note_refusal(by, refused, sha256(unverified))
        return SetAnswer(accepted=False, err=refused.err, description=refused.detail)

    async def _keep_fresh(self, iss: str) -> None:
        """The keys of a transmitter that speaks are looked at once an hour, so that one it withdrew is not believed for long."""
        await self._transmitters.refresh(iss)

    async def notice(self, who: Caller, said: PointSignal, said_id: str) -> int | None:
        """A guard's own doubt about a token it verified: a SET of ours about who acts under it, by the same way as anyone else's.

        The sequence of the record where nobody gave the points a voice; none where it was stored as a signal.  Raises Refused.
        """
        self._check_serves(who.name, said.tool)
        now = self._clock.now()
        if not self._notices.take(who.name):
            raise Refused(DenyReason.RATE_LIMITED, f"more than {NOTICES_A_MINUTE} signals a minute")
        try:
            token = proven(said.token, self._facts, issuer=self._settings.issuer, trust_domain=self._settings.trust_domain, now=now)
        except NoProof as error:
            raise Refused(DenyReason.NOT_AUTHORIZED, f"a guard speaks of tokens it was shown: {error}") from None
        level: Literal["low", "medium"] = "low" if said.level == "low" else "medium"  # it sees one tool's calls: never worth more
        risk = Risk(token.act.sub, token.act.instance, token.txn, level, f"{said.tool}: {said.what}")
        return await self.voice.say(POINTS, sha256(f"{who.name}\0{said_id}"), risk, who.name)

    async def _store(self, verified: VerifiedSET, unverified: str, by: str) -> None:
        iss, jti = verified.claims.iss, verified.claims.jti
        id_ = "signals:" + sha256(f"{iss}\0{jti}")
        body = event(SET_DELIVERED, SetDelivery(set=unverified), source=SOURCE, id=id_)
        try:
            ack = await self._publisher.publish(
                STREAM,
                SIGNAL.at(sha256(iss), sha256(jti)),
                body,
                msg_id=id_,
                expected_last_subject_seq=0,
                deadline_s=STORE_DEADLINE_S,
            )
        except PublishConflict:
            return  # it was here before
        except PublishFailed as error:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "SIGNALS did not acknowledge") from error
        logger.info(log.SIGNAL_STORED, seq=ack.seq, signal_event=verified.event)
        self._background(self._record(Signalled(iss=iss, jti=jti, event=verified.event, by=by, seq=ack.seq), id_))

    def _check_pace(self, sender: Transmitter) -> None:
        """Each copy of this worker counts for itself.  What is too much may come later; nothing of it is stored, and nobody acts on it."""
        most = sender.ceiling.signals_per_minute
        held = self._paces.get(sender.iss)
        if held is None or held[0] != most:
            held = self._paces[sender.iss] = most, Buckets(most / 60, most)
        if not held[1].take(sender.iss):
            raise Refused(DenyReason.RATE_LIMITED, f"more than {most} signals a minute")

    def _check_may_bring(self, who: Caller) -> None:
        """The SET speaks for itself; who brings it must be allowed to, so that not everyone may try."""
        if who.account == "EDGE":
            return
        person = self._facts.person(who.name) if who.account == "OPERATORS" else None
        if person is None or person.state != "active" or all(grant.role != "transmitter" for grant in person.roles):
            raise SETRefused("access_denied", "who brings it holds no role of transmitter")

    def _check_serves(self, point: str, name: str) -> None:
        tool = self._facts.tool(name)
        try:
            _, workload = parse_connection_name(point)
        except InvalidSpiffeID:
            raise Refused(DenyReason.CALLER_UNKNOWN, "not the name of a point") from None
        if tool is None or tool.workload != str(workload):
            raise Refused(DenyReason.NOT_AUTHORIZED, "the point does not serve this tool")

    def _note_refusal(self, by: str, refused: SETRefused, digest: str) -> None:
        """Anybody may bring one: what strangers send must not fill what everybody's tokens need."""
        logger.warning(log.SIGNAL_REFUSED, err=refused.err, detail=refused.detail)
        if not self._refusals.take(refused.iss or ""):
            return
        unknown = refused.err == "invalid_issuer"
        reason = DenyReason.TRANSMITTER_UNKNOWN if unknown else DenyReason.SET_INVALID
        said = Signalled(iss=refused.iss, by=by, refused=reason, detail=f"{refused.err}: {refused.detail}")
        self._background(self._record(said, f"refused\0{by}\0{digest}\0{int(self._clock.now())}"))

    async def _record(self, signalled: Signalled, once: str) -> None:
        try:
            await self._recording.signalled(signalled, once)
        except RecordUnavailable:
            logger.warning(log.RECORD_FAILED, what="signalled")
