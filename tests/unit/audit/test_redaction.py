"""What an auditor of a namespace is not told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas import record
from workers.audit.redaction import person_digest, redacted

MINE = "spiffe://88mph.com/agents/advisor"
OTHER = "spiffe://88mph.com/agents/other"


def sees(scope: str) -> bool:
    return scope == MINE


def event(type_: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "type": type_, "data": data}


@pytest.mark.parametrize(
    "data",
    [
        {"input": {"user": {"sub": "marty"}}},
        {"input": {"parent": {"sub": "marty"}}},
        {"claims": {"sub": "marty", "agentic_ctx": {"intent": "for marty"}}, "intent": "for marty"},
        {"decision": {"grant": {"sub": "marty"}, "lines": [{"note": "user:marty -> team:refunds"}]}},
        {"sub": "marty", "actions": ["read"]},
    ],
)
def test_a_person_is_a_digest_wherever_the_event_names_them(data: dict[str, Any]) -> None:
    before = json.dumps(data)
    shown = json.dumps(redacted(event(record.ISSUED, data), sees))
    assert "marty" not in shown
    assert person_digest("marty") in shown
    assert json.dumps(data) == before  # the index' own copy stays whole


def test_workloads_keep_their_names() -> None:
    data = {"claims": {"sub": MINE, "act": {"sub": MINE}}}
    assert redacted(event(record.ISSUED, data), sees)["data"] == data


def test_one_person_whose_name_is_part_of_anothers() -> None:
    data = {"sub": "mart", "input": {"user": {"sub": "marty"}}, "note": "marty and mart"}
    shown = redacted(event(record.ISSUED, data), sees)["data"]
    assert shown["input"]["user"]["sub"] == person_digest("marty")
    assert shown["sub"] == person_digest("mart")


def test_an_entry_tells_of_nobody_else() -> None:
    targets = [f"agent:{MINE}", f"agent:{OTHER}", "namespace:spiffe://88mph.com", "user:marty", "token:j1"]
    shown = redacted(event(record.REVOKED, {"n": 4, "targets": targets, "cause": "risk of marty", "by": "doc"}), sees)["data"]
    assert shown == {"n": 4, "targets": [f"agent:{MINE}", person_digest("marty"), "token:j1"]}
