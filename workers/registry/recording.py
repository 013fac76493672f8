"""What RECORD says of a command: who, which facts, and whether it was done or refused.  It never holds a fact's body."""

from __future__ import annotations

from schemas.commands import Applied, Apply
from schemas.points import Failure
from schemas.record import APPLIED
from schemas.record import Applied as AppliedRecord
from streams.bus import event
from streams.subjects import RECORD
from workers.common.recorder import Recorder

SOURCE = "/weft/registry"


async def record(recorder: Recorder, nkey: str, asked: Apply, outcome: Applied | Failure, event_id: str) -> None:
    """Commit the event; a plan is none.  Raises RecordUnavailable."""
    if asked.plan_only:
        return
    refused = outcome if isinstance(outcome, Failure) else None
    said = AppliedRecord(
        person=nkey,
        changes=tuple(f"{change.kind.value}/{change.key}" for change in asked.changes),
        revision=None if isinstance(outcome, Failure) else outcome.revision,
        refused=refused.reason if refused else None,
        detail=refused.detail if refused else None,
    )
    body = event(APPLIED, said, source=SOURCE, subject=nkey)
    await recorder.record(RECORD.at("registry", "applied", nkey), body, f"registry:{nkey}:{event_id}")
