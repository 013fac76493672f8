"""What is told of a response: the event for RECORD, and its receipt."""

from __future__ import annotations

from typing import Any

import structlog

from schemas.facts import Kind, Transmitter
from schemas.record import Responded
from streams.facts_table import FactsTable
from workers.common import log
from workers.common.clock import Clock
from workers.signals.changes import Changed
from workers.signals.policy.assess import Signal
from workers.signals.policy.respond import Act, Recorded
from workers.signals.policy.rules import Chosen
from workers.signals.policy.targets import Target
from workers.signals.receipts import Signer
from workers.signals.recording import Recording

logger = structlog.get_logger()


class Telling:
    """On RECORD with a receipt; returns once it was acknowledged, and raises RecordUnavailable."""

    def __init__(self, facts: FactsTable, recording: Recording, signer: Signer, clock: Clock) -> None:
        self._facts = facts
        self._recording = recording
        self._signer = signer
        self._clock = clock

    async def tell(self, told: Responded, once: str) -> None:
        """`once` names this response: told again it is the same event."""
        receipt = self._signer.receipt(told, self._clock.now())
        await self._recording.responded(told.model_copy(update={"receipt": receipt}), once)
        logger.info(log.SIGNAL_ANSWERED, signal_event=told.event, response=told.response, detail=told.detail)

    def done(self, signal: Signal, act: Act, changed: Changed | None, entry: int | None) -> Responded:
        """A rule's answer, carried out."""
        return Responded(
            **self._about(signal, act.chosen),
            response=act.answer,
            **aimed(act.target),
            posture_revision=changed.revision if changed is not None else None,
            before=changed.level_before if changed is not None else None,
            entry=entry,
            counted=act.counted,
            message=act.chosen.rule.message,
            detail="; ".join(part for part in (act.detail, levels(changed)) if part) or None,
        )

    def undone(self, signal: Signal, left: Recorded, pending: str | None) -> Responded:
        """Recorded, and nothing more for now."""
        act = left.act
        answer = left.chosen.rule.response if left.chosen is not None and left.waiting else None
        if left.waiting:
            logger.warning(log.SIGNAL_WAITING, signal_event=signal.event, detail=left.detail)
        return Responded(
            **self._about(signal, left.chosen),
            response="record",
            asked=answer,
            **(aimed(act.target) if act is not None else {}),
            counted=act.counted if act is not None else None,
            pending=pending,
            detail=f"waits for an operator ({answer or 'the policy'}): {left.detail}" if left.waiting else left.detail,
        )

    def lifted(self, signal: Signal, target: Target, changed: Changed) -> Responded:
        """A sender took its own word back."""
        about = self._about(signal, None)
        return Responded(
            **about,
            response="lift",
            **aimed(target),
            posture_revision=changed.revision,
            before=changed.level_before,
            detail=levels(changed),
        )

    def _about(self, signal: Signal, chosen: Chosen | None) -> dict[str, Any]:
        about: dict[str, Any] = {
            "agent": signal.subject.workload,
            "iss": signal.iss,
            "jti": signal.jti,
            "event": signal.event,
            "confidence": signal.confidence or "low",
        }
        sender = self._facts.transmitter(signal.iss)
        if chosen is not None:
            about |= {"rule": chosen.rule.name, "policy": chosen.policy, "policy_revision": self.revision_of(chosen.policy)}
        return about | {"deliver": wants_receipts(sender, asked=chosen is not None and chosen.rule.receipt)}

    def revision_of(self, policy: str) -> int:
        """Which version of the policy it was."""
        return self._facts.revision_of(Kind.RESPONSE, policy)


def wants_receipts(sender: Transmitter | None, *, asked: bool) -> bool:
    """The transmitter is sent the receipt: its own record or the rule says so."""
    return asked or (sender is not None and sender.receipts)


def aimed(target: Target) -> dict[str, Any]:
    """Whom it hit; a person as digest alone."""
    value = {} if target.scope == "user" else {"value": target.value}
    return {"scope": target.scope, "target": target.digest, **value}


def levels(changed: Changed | None) -> str:
    """What became of the posture."""
    if changed is None:
        return ""
    before = changed.before.level if changed.before is not None else "normal"
    after = changed.after.level if changed.after is not None else "normal"
    return f"{before} -> {after}" if changed.written else f"{after} already"
