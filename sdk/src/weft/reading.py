"""Members of a JSON object, read with their types.  Each function raises Malformed, which names the member and never its value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from weft.errors import Malformed
from weft.spiffeid import InvalidSpiffeID, SpiffeID

MAX_SECONDS = 4_102_444_800
BOUND_PARTS = frozenset(("method", "path", "body"))
_INSTANCE = re.compile(r"[ik][a-z2-7]{26}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
Members = Mapping[str, Any]


def text(members: Members, name: str) -> str:
    """A string, not empty, that is Unicode."""
    value = members.get(name)
    if type(value) is not str or not value:
        raise Malformed(f"{name} is not a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone surrogate, which JSON can spell and UTF-8 cannot
            raise Malformed(f"{name} is not Unicode") from None
    return value


def seconds(members: Members, name: str) -> int:
    """A NumericDate, whole."""
    value = count(members, name)
    if value > MAX_SECONDS:
        raise Malformed(f"{name} is no time")
    return value


def count(members: Members, name: str) -> int:
    """A whole number, not negative."""
    value = members.get(name)
    if type(value) is not int or value < 0:
        raise Malformed(f"{name} is not a whole number")
    return value


def texts(members: Members, name: str) -> tuple[str, ...]:
    """A list of strings."""
    value = members.get(name)
    if type(value) is not list or not all(type(item) is str for item in value):
        raise Malformed(f"{name} is not a list of strings")
    return tuple(value)


def obj(members: Members, name: str) -> dict[str, Any]:
    """An object."""
    value = members.get(name)
    if type(value) is not dict:
        raise Malformed(f"{name} is not an object")
    return value


def objects(members: Members, name: str) -> tuple[dict[str, Any], ...]:
    """A list of objects; empty where it is absent."""
    value = members.get(name, [])
    if type(value) is not list or not all(type(item) is dict for item in value):
        raise Malformed(f"{name} is not a list of objects")
    return tuple(value)


def digest(members: Members, name: str) -> str:
    """A SHA-256, base64url."""
    value = members.get(name)
    if type(value) is not str or not _DIGEST.fullmatch(value):
        raise Malformed(f"{name} is not a digest")
    return value


def is_instance(value: object) -> bool:
    """Whether it is an instance id: `i` for attested by the issuer, `k` for made of the connection's key, and 26 base32 characters."""
    return type(value) is str and _INSTANCE.fullmatch(value) is not None


def instance(members: Members) -> str:
    """An instance id."""
    value = text(members, "instance")
    if not is_instance(value):
        raise Malformed("instance is not an instance id")
    return value


def spiffe_id(members: Members, name: str) -> str:
    """A SPIFFE ID."""
    value = text(members, name)
    if not is_spiffe_id(value):
        raise Malformed(f"{name} is not a SPIFFE ID")
    return value


def flag(members: Members, name: str) -> bool:
    """A boolean; false where it is absent."""
    value = members.get(name, False)
    if type(value) is not bool:
        raise Malformed(f"{name} is not a boolean")
    return value


def pointer(members: Members, name: str) -> str:
    """A JSON pointer (RFC 6901 section 3)."""
    value = members.get(name)
    if type(value) is not str or (value and value[0] != "/"):
        raise Malformed(f"{name} is not a JSON pointer")
    return value


@lru_cache(maxsize=4096)
def is_spiffe_id(value: str) -> bool:
    """Whether it is a SPIFFE ID."""
    try:
        SpiffeID.parse(value)
    except InvalidSpiffeID:
        return False
    return True
