"""What this worker puts on RECORD, each event under an id that makes repeating it harmless."""

from __future__ import annotations

from weft.digest import sha256

from schemas import record
from schemas.drills import DrillReport
from schemas.record import Completed, Drilled, Revoked, Uncontained, Used
from streams.bus import event
from streams.subjects import RECORD
from workers.common.recorder import Recorder
from workers.revocation.causes import Cause, Committed

SOURCE = "/weft/revocation"


class Recording:
    """Every method returns once RECORD acknowledged; raises RecordUnavailable."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def revoked(self, cause: Cause, committed: Committed) -> int:
        """Whom an entry hits and why: what the entry itself does not say."""
        said = Revoked(n=committed.n, targets=cause.names, cause=cause.reason, posture_revision=cause.posture, by=cause.by)
        id_ = f"revocation:revoked:{committed.n}:{sha256(cause.key or cause.names[0])}"
        body = event(record.REVOKED, said, source=SOURCE, id=id_)
        return await self._recorder.record(RECORD.at("revocation", "revoked", "ledger"), body, id_)

    async def completed(self, completed: Completed) -> int:
        """How the points ended."""
        id_ = f"revocation:completed:{completed.n}"
        body = event(record.COMPLETED, completed, source=SOURCE, id=id_)
        return await self._recorder.record(RECORD.at("revocation", "completed", "ledger"), body, id_)

    async def uncontained(self, said: Uncontained, revision: int) -> int:
        """The alarm, and its end; `revision` is that of the fact that says so."""
        id_ = f"revocation:uncontained:{revision}"
        body = event(record.UNCONTAINED, said, source=SOURCE, id=id_)
        return await self._recorder.record(RECORD.at("revocation", "uncontained", said.point), body, id_)

    async def drilled(self, report: DrillReport) -> int:
        """How a drill ended."""
        id_ = f"revocation:drilled:{report.drill}"
        body = event(record.DRILLED, Drilled(**dict(report)), source=SOURCE, id=id_)
        return await self._recorder.record(RECORD.at("revocation", "drilled", "ledger"), body, id_)

    async def used(self, used: Used, report_id: str) -> int:
        """A point's report, once however often it is sent."""
        id_ = "point:" + sha256(f"{used.point}\0{report_id}")
        body = event(record.USED, used, source=f"/weft/point/{used.point}", id=id_)
        return await self._recorder.record(RECORD.at("point", "used", used.point), body, id_)
