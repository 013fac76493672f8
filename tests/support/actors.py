"""Who connects in tests: an agent, a tool, a person, and what can befall them, as plain facts."""

from __future__ import annotations

from typing import Any

from weft.digest import target_digest
from weft.nkey import KeyPair

from streams.facts_table import FactsTable
from tests.support.facts import table_of
from tests.support.identities import ADVISOR

TOOL_ID = "spiffe://88mph.com/tools/payments"
PERSON = KeyPair("U")


def agent(**changes: Any) -> dict[str, Any]:
    charter = {"purposes": ["*"], "tools": ["*"], "actions": ["*"]}
    fixed = {"kind": "agent", "id": ADVISOR, "owner": "o", "realm": "first_party", "version": "1", "deployment": "d", "agent_type": "t"}
    return {**fixed, "charter": charter, "selectors": {}, **changes}


def tool(**changes: Any) -> dict[str, Any]:
    fixed = {"kind": "tool", "name": "payments", "owner": "o", "workload": TOOL_ID, "endpoint": "http://x", "resource": "http://x"}
    return {**fixed, "actions": ["a"], "purposes": ["p"], **changes}


def person(**changes: Any) -> dict[str, Any]:
    return {"kind": "person", "nkey": PERSON.public, "name": "doc", "roles": [], **changes}


def posture(scope: Any, value: str, level: str = "quarantined") -> dict[str, Any]:
    return {"kind": "posture", "scope": scope, "target": target_digest(scope, value), "level": level, "causes": []}


def world(*more: dict[str, Any]) -> FactsTable:
    return table_of([agent(), tool(), person(), *more])
