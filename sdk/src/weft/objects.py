"""What a call is about: fields of a request's body, as the tool's record points at them.  RFC 6901 (JSON pointer).

The values are strings: JSON strings as they are, numbers and booleans as the body spells them.  Anything else, an absent member, or a
body that could be read in two ways gives no object, and so no evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from weft.digest import object_digest
from weft.errors import Malformed
from weft.strictjson import parse_spelled


def extract(body: bytes, pointers: Mapping[str, str]) -> dict[str, str] | None:
    """The fields of the body, or None where one of them cannot be told."""
    if not pointers:
        return None
    try:
        document = parse_spelled(body, "the body")
        return {name: _text(_at(document, pointer)) for name, pointer in pointers.items()}
    except Malformed:
        return None


def digest_of(fields: Mapping[str, str] | None, names: Iterable[str]) -> str | None:
    """The object digest of these fields alone, or None where one of them is not told."""
    wanted = list(names)
    if fields is None or not wanted or not all(name in fields for name in wanted):
        return None
    return object_digest({name: fields[name] for name in wanted})


def _at(document: Any, pointer: str) -> Any:
    value = document
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if type(value) is dict and name in value:
            value = value[name]
        elif type(value) is list and name.isdecimal() and name == str(int(name)) and int(name) < len(value):
            value = value[int(name)]
        else:
            raise Malformed("the body has no such member")
    return value


def _text(value: Any) -> str:
    if type(value) is bool:
        return "true" if value else "false"
    if not isinstance(value, str):
        raise Malformed("the member is not a single value")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Malformed("the member is not Unicode") from None
    return value
