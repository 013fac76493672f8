"""What RECORD holds of admission: admitted, not admitted, cut.

Refusals are recorded up to a rate: anybody who reaches the port can cause them, and RECORD keeps what it takes.  What exceeds it is one
summary for each second.
"""

from __future__ import annotations

from typing import Protocol

from schemas.base import Wire
from schemas.record import ADMITTED, CUT, LIMITED, NOT_ADMITTED, Admitted, Cut, Limited, NotAdmitted
from streams.bus import event
from streams.subjects import RECORD
from workers.admission.decide import Admit, Refuse
from workers.common.clock import Clock

SOURCE = "/weft/admission"
REFUSALS_A_SECOND = 20
_NOBODY = "unverified"  # the last token of the subject where nobody was verified


class Recorder(Protocol):
    """What is called of workers.common.recorder.Recorder."""

    async def record(self, subject: str, body: bytes, msg_id: str) -> int:
        """Commit one event.  Raises RecordUnavailable."""


class AdmissionRecord:
    """Writes the events.  `connection` is the server's own key for the connection: one connection, one event."""

    def __init__(self, recorder: Recorder, clock: Clock, copy_id: str) -> None:
        self._recorder = recorder
        self._clock = clock
        self._copy_id = copy_id
        self._second = 0
        self._refusals = 0

    async def admitted(self, connection: str, admit: Admit) -> None:
        """Raises RecordUnavailable, and then nobody may be admitted."""
        svid = admit.svid
        data = Admitted(
            name=admit.name,
            kind=admit.kind,
            id=admit.id,
            instance=None if svid is None else svid.instance,
            jkt=None if svid is None else svid.jkt,
            svid_jti=None if svid is None else svid.jti,
            expires_at=admit.expires_at,
        )
        await self._write("admitted", admit.name, ADMITTED, data, connection)

    async def refused(self, connection: str, refuse: Refuse) -> None:
        """Within the rate.  Raises RecordUnavailable."""
        second = int(self._clock.now())
        if second != self._second:
            excess, then = self._refusals - REFUSALS_A_SECOND, self._second
            self._second, self._refusals = second, 0
            if excess > 0:
                await self._write(
                    "limited", _NOBODY, LIMITED, Limited(caller=_NOBODY, count=excess, second=then), f"{self._copy_id}:{then}"
                )
        self._refusals += 1
        if self._refusals <= REFUSALS_A_SECOND:
            data = NotAdmitted(kind=refuse.kind, id=refuse.id, reason=refuse.reason, detail=refuse.detail)
            await self._write("notadmitted", _NOBODY, NOT_ADMITTED, data, connection)

    async def cut(self, name: str, connections: int, cause: str, sweep: str) -> None:
        """Raises RecordUnavailable."""
        await self._write("cut", name, CUT, Cut(name=name, connections=connections, cause=cause), f"{sweep}:{name}")

    async def _write(self, what: str, who: str, type_: str, data: Wire, once: str) -> None:
        msg_id = f"admission:{what}:{once}"
        await self._recorder.record(_subject(what, who), event(type_, data, source=SOURCE, id=msg_id), msg_id)


def _subject(what: str, who: str) -> str:
    """A name that is no subject was not given by admission; the event itself tells it."""
    try:
        return RECORD.at("admission", what, who)
    except ValueError:
        return RECORD.at("admission", what, _NOBODY)
