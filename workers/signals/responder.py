"""Stored signals become responses: what is done with each message of SIGNALS, once or as often as it is delivered.

1. The SET is verified again, as of the moment SIGNALS took it: what stands on a stream is not believed for standing there.
2. `respond` decides; the pace of its sender and the instance's record are asked here, because they are no facts.
3. The posture is committed.
4. The response is on RECORD with its receipt, and only then is the message acknowledged.

A fault leaves the message to be delivered again, later each time, for ever: nothing is dropped.  A message that is no signal at all is
recorded and ended.
"""

from __future__ import annotations

from typing import Protocol

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NATSError

from schemas.facts import Kind, Transmitter
from schemas.points import SetDelivery
from schemas.reasons import DenyReason
from schemas.record import Responded, Signalled
from streams.bus import Malformed, parse
from streams.facts_table import FactsTable
from workers.common import log
from workers.common.clock import Clock
from workers.common.recorder import RecordUnavailable
from workers.signals.assess import Signal, assess
from workers.signals.changes import Changed, Postures, Unchanged
from workers.signals.instances import Unanswered
from workers.signals.receipts import Signer
from workers.signals.recording import Recording
from workers.signals.respond import Act, Pace, Recorded, Response, TakeBack, Target, respond, within
from workers.signals.verify import SETRefused, verify_set

ACK_S = 2.0
RETRIES_S = (0.2, 1.0, 2.0, 5.0, 15.0, 60.0)
logger = structlog.get_logger()


class InstanceRecord(Protocol):
    """Which instance is of which workload."""

    async def belongs(self, instance: str, workload: str) -> bool:
        """Raises Unanswered."""
        ...


class Responder:
    """One message at a time; any number at once."""

    def __init__(
        self,
        facts: FactsTable,
        postures: Postures,
        *,
        instances: InstanceRecord,
        recording: Recording,
        signer: Signer,
        clock: Clock,
        trust_domain: str,
    ) -> None:
        self._facts = facts
        self._postures = postures
        self._instances = instances
        self._recording = recording
        self._signer = signer
        self._clock = clock
        self._trust_domain = trust_domain
        self._pace = Pace()

    async def on_message(self, msg: Msg) -> None:
        """Never raises but to be cancelled."""
        try:
            await self._on_message(msg)
            await msg.ack_sync(timeout=ACK_S)
        except NATSError:
            return  # delivered again, and answered as before
        except (Unchanged, Unanswered, RecordUnavailable) as error:
            await _later(msg, type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a bug is no reason to lose a signal
            await _later(msg, type(error).__name__)

    async def _on_message(self, msg: Msg) -> None:
        stored_at = msg.metadata.timestamp.timestamp()
        once = f"{msg.metadata.sequence.stream}"
        try:
            verified = verify_set(parse(SetDelivery, msg.data).data.set, self._facts.transmitter, now=stored_at)  # 1
        except (Malformed, SETRefused) as error:
            reason = DenyReason.SET_INVALID if isinstance(error, SETRefused) else DenyReason.MALFORMED
            seq = msg.metadata.sequence.stream
            await self._recording.signalled(Signalled(by="stored", seq=seq, refused=reason, detail=str(error)), f"stored\0{once}")
            return
        signal = assess(verified, stored_at=stored_at)
        response = respond(  # 2
            signal,
            verified.transmitter,
            self._facts.responses(),
            unreadable=bool(self._facts.unreadable(Kind.RESPONSE)),
            trust_domain=self._trust_domain,
        )
        await self._carry_out(signal, verified.transmitter, response, stored_at)

    async def _carry_out(self, signal: Signal, transmitter: Transmitter, response: Response, stored_at: float) -> None:
        match response:
            case Act():
                beyond = await self._beyond(response, transmitter, stored_at)
                if beyond is not None:
                    response = Recorded(beyond, response.rule, waiting=True, answer=response.answer)
                    await self._record(signal, _nothing_done(signal, response))
                else:
                    changed = await self._postures.add(response.target, response.cause, by="signals", reason=_reason(signal))  # 3
                    await self._record(signal, _done(signal, response, changed))
            case TakeBack():
                for target in response.targets:
                    await self._take_back(signal, response, target, stored_at, transmitter.ceiling.subjects_per_minute)
            case Recorded():
                await self._record(signal, _nothing_done(signal, response))

    async def _beyond(self, act: Act, transmitter: Transmitter, stored_at: float) -> str | None:
        """Why the sender's word does not reach so far, by what is not among the facts."""
        ceiling, workload = transmitter.ceiling, act.subject.workload
        everywhere = any(within(f"spiffe://{self._trust_domain}", namespace) for namespace in ceiling.namespaces)
        doubtful = act.target.scope == "instance" and workload is not None and not everywhere
        if doubtful and not await self._instances.belongs(act.target.value, str(workload)):
            return "no such instance of that workload is known"
        if not self._pace.allows(transmitter.iss, act.target, stored_at, ceiling.subjects_per_minute):
            return f"more than {ceiling.subjects_per_minute} subjects a minute"
        return None

    async def _take_back(self, signal: Signal, response: TakeBack, target: Target, stored_at: float, most: int) -> None:
        """Kept even where nothing stands yet: what it takes back may still be on its way."""
        if not self._pace.allows(signal.iss, target, stored_at, most):
            nothing = Recorded(f"more than {most} subjects a minute", waiting=True)
            await self._record(signal, _nothing_done(signal, nothing), target.digest)
            return
        changed = await self._postures.add(target, response.cause, by="signals", reason=_reason(signal))  # 3
        told = Responded(
            iss=signal.iss,
            jti=signal.jti,
            event=signal.event,
            confidence=signal.confidence or "low",
            response="lift",
            **_aimed(target),
            posture_revision=changed.revision,
            detail=_levels(changed),
        )
        await self._record(signal, told, target.digest)

    async def _record(self, signal: Signal, told: Responded, part: str = "") -> None:
        receipt = self._signer.receipt(told, self._clock.now())
        await self._recording.responded(told.model_copy(update={"receipt": receipt}), f"{signal.id}\0{part}")  # 4
        logger.info(log.SIGNAL_ANSWERED, signal_event=signal.event, response=told.response, detail=told.detail)


def _done(signal: Signal, act: Act, changed: Changed) -> Responded:
    return Responded(
        iss=signal.iss,
        jti=signal.jti,
        event=signal.event,
        confidence=signal.confidence or "low",
        rule=act.rule,
        response=act.answer,
        **_aimed(act.target),
        posture_revision=changed.revision,
        detail="; ".join(part for part in (act.detail, _levels(changed)) if part),
    )


def _nothing_done(signal: Signal, response: Recorded) -> Responded:
    waiting = f"waits for an operator ({response.answer}): " if response.waiting else ""
    if response.waiting:
        logger.warning(log.SIGNAL_WAITING, signal_event=signal.event, detail=response.detail)
    return Responded(
        iss=signal.iss,
        jti=signal.jti,
        event=signal.event,
        confidence=signal.confidence or "low",
        rule=response.rule,
        response="record",
        detail=f"{waiting}{response.detail}",
    )


def _aimed(target: Target) -> dict[str, str]:
    """Whom it hit; a person as digest alone."""
    value = {} if target.scope == "user" else {"value": target.value}
    return {"scope": target.scope, "target": target.digest, **value}


def _levels(changed: Changed) -> str:
    before = changed.before.level if changed.before is not None else "normal"
    after = changed.after.level if changed.after is not None else "normal"
    return f"{before} -> {after}" if changed.written else f"{after} already"


def _reason(signal: Signal) -> str:
    return f"{signal.event} of {signal.iss}"[:512]


async def _later(msg: Msg, fault: str) -> None:
    delivered = msg.metadata.num_delivered
    logger.warning(log.REQUEST_FAILED, what="signal", error=fault, delivered=delivered)
    try:
        await msg.nak(delay=RETRIES_S[min(delivered, len(RETRIES_S)) - 1])
    except NATSError:
        return  # delivered again when its time has passed
