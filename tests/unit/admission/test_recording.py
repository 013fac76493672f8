"""Refusals are recorded up to a rate; the rest is one summary a second."""

from __future__ import annotations

import json
from typing import Any

from schemas.reasons import DenyReason
from schemas.record import BY_TYPE
from workers.admission.decide import Admit, Refuse
from workers.admission.recording import REFUSALS_A_SECOND, AdmissionRecord

REFUSE = Refuse("agent", DenyReason.SVID_INVALID, "alg is not allowed")


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time


class Recorded:
    def __init__(self) -> None:
        self.subjects: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.ids: list[str] = []

    async def record(self, subject: str, body: bytes, msg_id: str) -> int:
        event = json.loads(body)
        BY_TYPE[event["type"]].model_validate_json(json.dumps(event["data"]))
        self.subjects.append(subject)
        self.events.append(event["data"])
        self.ids.append(msg_id)
        return len(self.ids)


async def test_a_flood_of_refusals_is_a_few_records_and_a_summary() -> None:
    """INVARIANT: whoever reaches the port cannot fill RECORD.

    One record for each refusal would let anybody write RECORD at the rate at which they can connect.
    """
    recorded, clock = Recorded(), Clock()
    record = AdmissionRecord(recorded, clock, "copy")
    for n in range(500):
        await record.refused(f"U{n}", REFUSE)
    assert len(recorded.events) == REFUSALS_A_SECOND
    clock.time += 1
    await record.refused("U500", REFUSE)
    assert recorded.events[-2] == {"caller": "unverified", "count": 500 - REFUSALS_A_SECOND, "second": 1000}
    assert recorded.events[-1]["reason"] == "svid_invalid"
    clock.time += 1
    await record.refused("U501", REFUSE)
    assert len(recorded.events) == REFUSALS_A_SECOND + 3
    assert len(set(recorded.ids)) == len(recorded.ids)
    assert all(one.startswith("admission:") for one in recorded.ids)


async def test_subjects() -> None:
    recorded = Recorded()
    record = AdmissionRecord(recorded, Clock(), "copy")
    await record.admitted("U1", Admit("operator", "UABC", "UABC", 2000))
    await record.cut("i2.88mph~com.agents.a", 2, "limits", "sweep")
    await record.cut("not a subject", 1, "limits", "sweep")
    await record.refused("U2", REFUSE)
    assert recorded.subjects == [
        "weft.record.admission.admitted.UABC",
        "weft.record.admission.cut.i2.88mph~com.agents.a",
        "weft.record.admission.cut.unverified",
        "weft.record.admission.notadmitted.unverified",
    ]
