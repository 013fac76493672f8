"""Digests and canonical bytes that both sides of the wire compute.  Everything here is pure.

Base64url is without padding (RFC 7515 section 2).  Canonical JSON is sorted keys, no white space, UTF-8; its values are strings,
integers, booleans and containers of them, so it agrees with RFC 8785 for ASCII keys.
"""

from __future__ import annotations

import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

BoundPart = Literal["method", "path", "body"]
TargetKind = Literal["token", "transaction", "instance", "agent", "namespace", "user", "key"]


_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/!!!")  # `!` is in no alphabet: what base64url does not know is refused
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def b64u(raw: bytes) -> str:
    """Bytes to base64url text without padding."""
    return binascii.b2a_base64(raw, newline=False).translate(_TO_URL, b"=").decode()


def unb64u(text: str) -> bytes:
    """Base64url text to bytes, strictly: raises ValueError for padding, white space or a foreign alphabet."""
    try:
        encoded = text.encode("ascii").translate(_FROM_URL) + b"=" * (-len(text) % 4)
        raw = binascii.a2b_base64(encoded)  # skips what it does not know; the comparison below does not
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64url") from error
    if binascii.b2a_base64(raw, newline=False) != encoded:
        raise ValueError("not canonical base64url")
    return raw


def canonical(value: Any) -> bytes:
    """Canonical JSON bytes of plain data."""
    return _CANONICAL.encode(value).encode()


def sha256(data: bytes | str) -> str:
    """SHA-256 as 43 characters of base64url."""
    return b64u(hashlib.sha256(data.encode() if isinstance(data, str) else data).digest())


def call_parts(method: str, path: str, body: bytes) -> dict[str, str]:
    """What of an HTTP request can be bound: the method, and digests of the path with query and of the body.

    `path` is what follows the tool's endpoint, with its query as sent (`/refunds?dry=1`).
    """
    return {"method": method.upper(), "path": sha256(path), "body": sha256(body)}


def call_digest(parts: Mapping[str, str], bound: Iterable[BoundPart]) -> str:
    """The digest a token carries: of those parts that the tool's record binds, and of no others."""
    return sha256(canonical({name: parts[name] for name in bound}))


def object_digest(fields: Mapping[str, str]) -> str:
    """What a call is about (an order and an amount, say) as one digest; the values are strings as extracted."""
    return sha256(canonical(dict(fields)))


def target_digest(kind: TargetKind, value: str) -> str:
    """What a revocation entry names instead of a name: the first 128 bits of SHA-256 over kind, NUL and value (22 characters)."""
    return b64u(hashlib.sha256(f"{kind}\0{value}".encode()).digest()[:16])
