"""`weft explain` takes what people hold in their hands: a SET's `jti`, an approval's id, the id of a response that waits."""

from __future__ import annotations

from typing import Any

import pytest

from schemas import record
from workers.audit.references import Reference, references


@pytest.mark.parametrize(
    ("type_", "data", "ids"),
    [
        (record.SIGNALLED, {"jti": "j1", "by": "U"}, {"j1"}),
        (record.RESPONDED, {"jti": "j1", "pending": "p1"}, {"j1", "p1"}),
        (record.RESPONDED, {"jti": "j1", "pending": None}, {"j1"}),
        (record.RECEIPTED, {"jti": "j1"}, {"j1"}),
        (record.APPROVED, {"id": "a1", "explanation": "e1"}, {"a1", "e1"}),
        (record.DENIED, {"approval": "a1", "explanation": "e1"}, {"a1", "e1"}),
        (record.ISSUED, {"explanation": "e1", "decision": {"grant": {"approval": "a1"}}}, {"a1", "e1"}),
        (record.ISSUED, {"explanation": "e1", "decision": {"grant": {"approval": None}}}, {"e1"}),
        (record.USED, {"jti": "j1"}, set()),
    ],
)
def test_an_event_is_found_by_what_people_hold(type_: str, data: dict[str, Any], ids: set[str]) -> None:
    assert {reference.value for reference in references(type_, data) if reference.kind == "explanation"} == ids
    assert all(isinstance(reference, Reference) for reference in references(type_, data))
