"""What this worker puts on RECORD, each event under an id that makes repeating it harmless."""

from __future__ import annotations

from weft.digest import sha256

from schemas import record
from schemas.record import Receipted, Responded, Signalled, Transmitted
from streams.bus import event
from streams.subjects import RECORD
from workers.common.recorder import Recorder

SOURCE = "/weft/signals"


class Recording:
    """Every method returns once RECORD acknowledged; raises RecordUnavailable."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def signalled(self, signalled: Signalled, once: str) -> int:
        """A SET was stored, or refused.  `once` names this delivery."""
        id_ = f"signals:signalled:{sha256(once)}"
        body = event(record.SIGNALLED, signalled, source=SOURCE, id=id_)
        return await self._recorder.record(RECORD.at("signals", "signalled", signalled.by), body, id_)

    async def responded(self, responded: Responded, once: str) -> int:
        """What a signal, a command or the end of a response caused."""
        id_ = f"signals:responded:{sha256(once)}"
        body = event(record.RESPONDED, responded, source=SOURCE, id=id_)
        return await self._recorder.record(RECORD.at("signals", "responded", sha256(responded.iss)), body, id_)

    async def transmitted(self, transmitted: Transmitted) -> int:
        """What became of a SET of ours."""
        id_ = f"signals:transmitted:{sha256(f'{transmitted.stream_id}.{transmitted.jti}.{transmitted.outcome}')}"
        body = event(record.TRANSMITTED, transmitted, source=SOURCE, id=id_)
        return await self._recorder.record(RECORD.at("signals", "transmitted", transmitted.stream_id), body, id_)

    async def receipted(self, receipted: Receipted) -> int:
        """How a response ended at the points."""
        id_ = f"signals:receipted:{receipted.n}"
        body = event(record.RECEIPTED, receipted, source=SOURCE, id=id_)
        return await self._recorder.record(RECORD.at("signals", "receipted", sha256(receipted.iss)), body, id_)
