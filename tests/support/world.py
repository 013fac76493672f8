"""The small fabric that the decision's tests and bench share: tests/unit/decision/world.yaml with the default policy."""

import copy
import json
from pathlib import Path
from typing import Any

import yaml

from schemas.decision import DecisionInput
from streams.facts_table import FactsTable
from tests.support.facts import table_of

_ROOT = Path(__file__).parents[2]
_WORLD = yaml.safe_load((_ROOT / "tests/unit/decision/world.yaml").read_text())
DEFAULT_POLICY = (_ROOT / "workers/common/decision/default.cedar").read_text()


def bodies() -> dict[str, dict[str, Any]]:
    """The facts by their nickname, free to be changed."""
    return {**copy.deepcopy(_WORLD["facts"]), "policy": {"kind": "policy", "name": "default", "cedar": DEFAULT_POLICY}}


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with changes, objects merged member by member; a member changed to null is absent."""
    result = dict(base)
    for name, value in changes.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
    return {name: value for name, value in result.items() if value is not None}


def facts(changes: dict[str, Any] | None = None) -> FactsTable:
    """The table of the world with changes by nickname; null leaves a fact out."""
    return table_of(merged(bodies(), changes or {}).values())


def request(name: str, changes: dict[str, Any] | None = None) -> DecisionInput:
    """One of the requests, changed."""
    return DecisionInput.model_validate_json(json.dumps(merged(_WORLD["requests"][name], changes or {})))
