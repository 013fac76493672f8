"""JSON as a verifier reads it.  RFC 8259 with its ambiguities refused: a member twice (section 4), NaN and Infinity (section 6)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Never

from weft.errors import Malformed


def _members(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    listed = list(pairs)
    members = dict(listed)
    if len(members) != len(listed):
        raise ValueError("a member twice")
    return members


def _constant(_: str) -> Never:
    raise ValueError("not a JSON number")


_VALUES = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_constant)
_SPELLED = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_constant, parse_int=str, parse_float=str)


def parse_object(raw: bytes, what: str) -> dict[str, Any]:
    """UTF-8 JSON bytes to an object; raises Malformed, which names `what` and never quotes the bytes."""
    value = _decode(_VALUES, raw, what)
    if type(value) is not dict:
        raise Malformed(f"{what} is not a JSON object")
    return value


def parse_spelled(raw: bytes, what: str) -> Any:
    """UTF-8 JSON bytes with every number as the text that spells it; raises Malformed."""
    return _decode(_SPELLED, raw, what)


def _decode(decoder: json.JSONDecoder, raw: bytes, what: str) -> Any:
    try:
        return decoder.decode(raw.decode())
    except (ValueError, RecursionError):
        raise Malformed(f"{what} is not unambiguous JSON") from None
