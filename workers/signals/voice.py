"""What the fabric itself says: SETs of its own, signed by the signals key, verified and stored by the same way as anyone else's.

Two speakers, each a transmitter in FACTS with a trust and a ceiling of its own: the guards (`weft:points`) and the detections
(`weft:detections`).  Without that fact, or where it is suspended, what they say goes to RECORD and no further.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from schemas.facts import Transmitter
from schemas.reasons import DenyReason
from schemas.record import Signalled
from schemas.signals import CAEP, SET_TYP
from workers.common.clock import Clock
from workers.common.recorder import RecordUnavailable
from workers.common.rpc import Refused
from workers.signals.receipts import Signer
from workers.signals.recording import Recording
from workers.signals.verify import SETRefused, VerifiedSET, verify_set

Store = Callable[[VerifiedSET, str, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Risk:
    """A risk-level-change about one workload's instance, CAEP 1.0 section 3.8."""

    workload: str
    instance: str
    txn: str | None
    level: Literal["low", "medium", "high"]
    reason: str


class Voice:
    """Says it once per `jti`, however often it is asked to."""

    def __init__(
        self, transmitter: Callable[[str], Transmitter | None], *, store: Store, recording: Recording, signer: Signer, clock: Clock
    ) -> None:
        self._transmitter = transmitter
        self._store = store
        self._recording = recording
        self._signer = signer
        self._clock = clock

    async def say(self, iss: str, jti: str, risk: Risk, by: str) -> int | None:
        """None where SIGNALS holds it; its sequence in RECORD where nobody gave this speaker a voice.  Raises Refused."""
        speaker = self._transmitter(iss)
        if speaker is None or speaker.state != "active":
            return await self._record(iss, jti, risk, by)
        unverified = self._signer.sign(SET_TYP, self._claims(iss, jti, risk, speaker.aud))
        try:
            verified = verify_set(unverified, self._transmitter, now=self._clock.now())
        except SETRefused as refused:
            raise Refused(DenyReason.SET_INVALID, f"{iss} is not set up to verify: {refused.detail}") from None
        await self._store(verified, unverified, by)
        return None

    def _claims(self, iss: str, jti: str, risk: Risk, aud: str) -> dict[str, Any]:
        now = int(self._clock.now())
        about_whom: dict[str, Any] = {
            "format": "complex",
            "workload": {"format": "uri", "uri": risk.workload},
            "instance": {"format": "opaque", "id": risk.instance},
            **({} if risk.txn is None else {"transaction": {"format": "opaque", "id": risk.txn}}),
        }
        about = {"principal": "WORKLOAD", "current_level": risk.level.upper(), "event_timestamp": now, "initiating_entity": "policy"}
        return {
            "iss": iss,
            "aud": aud,
            "iat": now,
            "jti": jti,
            **({} if risk.txn is None else {"txn": risk.txn}),
            "sub_id": about_whom,
            "events": {f"{CAEP}risk-level-change": {**about, "risk_reason": risk.reason, "reason_admin": {"en": risk.reason}}},
        }

    async def _record(self, iss: str, jti: str, risk: Risk, by: str) -> int:
        detail = f"{risk.level} about {risk.instance}: {risk.reason}"
        signalled = Signalled(iss=iss, jti=jti, by=by, refused=DenyReason.TRANSMITTER_UNKNOWN, detail=detail)
        try:
            return await self._recording.signalled(signalled, jti)
        except RecordUnavailable as error:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "RECORD did not acknowledge") from error
