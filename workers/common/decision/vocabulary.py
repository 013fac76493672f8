"""Whether a policy speaks of what a request has: Cedar's validation against `weft.cedarschema`.  https://docs.cedarpolicy.com/.

A field that no request has is an error when the policy is evaluated, and an error in one policy denies everybody; so it is found before.
Does NOT find an action that no tool offers (tools come and go), nor `has` of a field that never is: both are false, and no error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import cedarpy

from workers.common.decision.cedar import PolicyError, asked_of_engine, parse

SCHEMA = files("workers.common.decision").joinpath("weft.cedarschema").read_text()
ANY = "any action"  # declared always, so that a policy that names none has some to apply to
MAX_CHARS = 240


def faults(text: str) -> tuple[str, ...]:
    """What is wrong with each policy of the text, which it names by its `@id` or its number.  Raises PolicyError: it does not parse."""
    policies = parse(text)
    try:
        schema = SCHEMA.replace("namespace Weft {", _declared(policies), 1)
    except RecursionError:
        raise PolicyError("a policy nests deeper than any is read here") from None
    found = asked_of_engine(cedarpy.validate_policies, text, schema)
    said = (_sentence(policies, error.policy_id, error.error) for error in found.errors)
    return tuple(dict.fromkeys(said))


def _declared(policies: dict[str, Any]) -> str:
    names = sorted({ANY, *_actions_in(policies)})
    quoted = ", ".join(json.dumps(name, ensure_ascii=False) for name in names)
    return f"namespace Weft {{ action {quoted} appliesTo {{ principal: [Agent], resource: [Tool], context: Context }};"


def _actions_in(part: Any) -> Iterator[str]:
    """The ids of every `Weft::Action` in Cedar's JSON."""
    if isinstance(part, dict):
        if part.get("type") == "Weft::Action" and isinstance(part.get("id"), str):
            yield part["id"]
        part = tuple(part.values())
    if isinstance(part, list | tuple):
        for inner in part:
            yield from _actions_in(inner)


def _sentence(policies: dict[str, Any], number: str, error: str) -> str:
    """The fault once, for whatever action it was found."""
    title = policies.get(number, {}).get("annotations", {}).get("id") or number
    what = error.removeprefix(f"for policy `{number}`, ").partition(" for Weft::Action::")[0]
    return f"{title}: {what}"[:MAX_CHARS]
