"""Stored signals become responses: what is done with each message of SIGNALS, once or as often as it is delivered.

1. The SET is verified again, as of the moment SIGNALS took it: what stands on a stream is not believed for standing there.
2. `respond` decides, over the facts and the signals before this one; the pace of its sender and the instance's record are asked here,
   because they are no facts.
3. What is within the ceiling is carried out; what is beyond it is kept for an operator.
4. Each response is on RECORD with its receipt, and only then is the message acknowledged.

A fault leaves the message to be delivered again, later each time, for ever: nothing is dropped.  A message that is no signal at all is
recorded and ended.  What waits for something of its sender's (its keys, a SET that we fail at) takes places that all senders share: of one
sender `MOST_HELD` may, and what comes on top is recorded as refused.
"""

from __future__ import annotations

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NATSError
from weft.digest import sha256

from schemas.facts import Kind, Transmitter, Trigger
from schemas.points import SetDelivery
from schemas.reasons import DenyReason
from schemas.record import Signalled
from streams.bus import Malformed, parse
from streams.facts_table import FactsTable
from workers.common import log
from workers.common.recorder import RecordUnavailable
from workers.signals.changes import Postures, Unchanged
from workers.signals.doing import Doing
from workers.signals.held import Held
from workers.signals.instances import InstanceRecord, Unanswered
from workers.signals.pending import PendingResponses
from workers.signals.policy.assess import Signal, assess
from workers.signals.policy.pace import Pace
from workers.signals.policy.respond import Act, Recorded, Response, TakeBack, World, respond
from workers.signals.policy.targets import Target
from workers.signals.receiver.transmitters import KeysUnavailable, Transmitters
from workers.signals.recent import Behind, Recent
from workers.signals.recording import Recording
from workers.signals.ring import NoSigningKey
from workers.signals.telling import Telling, wants_receipts
from workers.signals.verify import SETRefused, VerifiedSET

ACK_S = 2.0
MOST_HELD = 256  # of one sender; the consumer hands out 4096 that are not acknowledged (streams.topology)
RETRIES_S = (0.2, 1.0, 2.0, 5.0, 15.0, 60.0)
logger = structlog.get_logger()


class Responder:
    """One message at a time; any number at once."""

    def __init__(
        self,
        facts: FactsTable,
        recent: Recent,
        *,
        postures: Postures,
        doing: Doing,
        pending: PendingResponses,
        telling: Telling,
        instances: InstanceRecord,
        recording: Recording,
        trust_domain: str,
        transmitters: Transmitters,
    ) -> None:
        self._facts = facts
        self._recent = recent
        self._transmitters = transmitters
        self._postures = postures
        self._doing = doing
        self._pending = pending
        self._telling = telling
        self._instances = instances
        self._recording = recording
        self._trust_domain = trust_domain
        self._pace = Pace()
        self._held = Held(MOST_HELD)

    async def on_message(self, msg: Msg) -> None:
        """Never raises but to be cancelled."""
        iss: str | None = None
        try:
            verified = await self._verified(msg)  # 1
            if verified is not None:
                iss = verified.claims.iss
                await self._respond(verified, *_place(msg))
            await msg.ack_sync(timeout=ACK_S)
        except NATSError:
            return  # delivered again, and answered as before
        except (Unchanged, Unanswered, RecordUnavailable, Behind, NoSigningKey) as error:
            await _later(msg, type(error).__name__)
        except KeysUnavailable as error:  # whoever stored it could verify it: it waits for its sender's keys
            await self._held_back(msg, error.iss, DenyReason.TRANSMITTER_UNAVAILABLE, error.detail)
        except Exception as error:  # noqa: BLE001 - a bug is no reason to lose a signal
            await self._held_back(msg, iss, DenyReason.INTERNAL, type(error).__name__)
        else:
            self._held.settled(_place(msg)[0])

    async def _verified(self, msg: Msg) -> VerifiedSET | None:
        """None: it is none, and recorded as that.  Raises KeysUnavailable."""
        seq, stored_at = _place(msg)
        try:
            return await self._transmitters.verify(parse(SetDelivery, msg.data).data.set, stored_at)
        except KeysUnavailable:
            raise
        except (Malformed, SETRefused) as error:
            reason = DenyReason.SET_INVALID if isinstance(error, SETRefused) else DenyReason.MALFORMED
            await self._recording.signalled(Signalled(by="stored", seq=seq, refused=reason, detail=str(error)), f"stored\0{seq}")
            return None

    async def _held_back(self, msg: Msg, iss: str | None, reason: DenyReason, fault: str) -> None:
        """Delivered again later; refused, on record, where too much of its sender's waits already."""
        seq = _place(msg)[0]
        if self._held.may_wait(iss or "", seq):
            await _later(msg, fault)
            return
        logger.error(log.SIGNAL_REFUSED, err=str(reason), detail=fault)
        try:
            said = Signalled(iss=iss, by="stored", seq=seq, refused=reason, detail=f"{MOST_HELD} of its sender's wait already: {fault}")
            await self._recording.signalled(said, f"stored\0{seq}")
            await msg.ack_sync(timeout=ACK_S)
        except (NATSError, RecordUnavailable):
            await _later(msg, fault)

    async def _respond(self, verified: VerifiedSET, seq: int, stored_at: float) -> None:
        signal = assess(verified, self._facts.issuers(), stored_at=stored_at)
        seen = await self._recent.up_to(seq, stored_at)
        unreadable = bool(self._facts.unreadable(Kind.RESPONSE))
        world = World(self._facts.responses(), self._facts.transmitter, seen, self._trust_domain, unreadable)
        for response in respond(signal, world):  # 2
            await self._carry_out(signal, verified.transmitter, response, stored_at)

    async def _carry_out(self, signal: Signal, sender: Transmitter, response: Response, stored_at: float) -> None:
        match response:
            case Act():
                beyond = await self._beyond(response, sender, stored_at)
                if beyond is None:
                    await self._act(signal, sender, response)  # 3
                else:
                    await self._leave(signal, Recorded(beyond, response.chosen, waiting=True, act=response))
            case TakeBack():
                for target in response.targets:
                    await self._take_back(signal, response, target, stored_at, sender.ceiling.subjects_per_minute)
            case Recorded():
                await self._leave(signal, response)

    async def _beyond(self, act: Act, sender: Transmitter, stored_at: float) -> str | None:
        """Why the sender's word does not reach so far, by what is not among the facts."""
        if act.doubted is not None and not await self._instances.belongs(act.target.value, act.doubted):
            return "no such instance of that workload is known"
        most = sender.ceiling.subjects_per_minute
        if not self._pace.allows(sender.iss, act.target, stored_at, most):
            return f"more than {most} subjects a minute"
        return None

    async def _act(self, signal: Signal, sender: Transmitter, act: Act) -> None:
        rule = act.chosen.rule
        trigger = Trigger(
            iss=signal.iss,
            jti=signal.jti,
            rule=rule.name,
            policy=act.chosen.policy,
            id=sha256(f"{signal.id}\0{act.chosen.policy}\0{rule.name}"),
            receipt=wants_receipts(sender, asked=rule.receipt),
        )
        done = await self._doing.do(act.target, act.answer, act.causes, trigger=trigger, by="signals", reason=_reason(signal))
        await self._telling.tell(self._telling.done(signal, act, done.changed, done.entry), _once(signal, act))  # 4

    async def _leave(self, signal: Signal, left: Recorded) -> None:
        """Nothing is done; what is beyond a ceiling waits for somebody who may do it."""
        pending = await self._pending.keep(signal, left.act, left.detail) if left.waiting and left.act is not None else None
        await self._telling.tell(self._telling.undone(signal, left, pending), _once(signal, left.act))  # 4

    async def _take_back(self, signal: Signal, response: TakeBack, target: Target, stored_at: float, most: int) -> None:
        """Kept even where nothing stands yet: what it takes back may still be on its way."""
        once = f"{signal.id}\0{target.digest}"
        if not self._pace.allows(signal.iss, target, stored_at, most):
            nothing = Recorded(f"more than {most} subjects a minute", waiting=True)
            await self._telling.tell(self._telling.undone(signal, nothing, None), once)
            return
        changed = await self._postures.add(target, (response.cause,), trigger=None, by="signals", reason=_reason(signal))  # 3
        await self._telling.tell(self._telling.lifted(signal, target, changed), once)  # 4


def _once(signal: Signal, act: Act | None) -> str:
    """Which of the responses to this signal it is."""
    return f"{signal.id}\0{act.chosen.policy}\0{act.chosen.rule.name}" if act is not None else f"{signal.id}\0"


def _place(msg: Msg) -> tuple[int, float]:
    """Its sequence in SIGNALS, and when it was stored."""
    return msg.metadata.sequence.stream, msg.metadata.timestamp.timestamp()


def _reason(signal: Signal) -> str:
    return f"{signal.event} of {signal.iss}"[:512]


async def _later(msg: Msg, fault: str) -> None:
    delivered = msg.metadata.num_delivered
    logger.warning(log.REQUEST_FAILED, what="signal", error=fault, delivered=delivered)
    try:
        await msg.nak(delay=RETRIES_S[min(delivered, len(RETRIES_S)) - 1])
    except NATSError:
        return  # delivered again when its time has passed
