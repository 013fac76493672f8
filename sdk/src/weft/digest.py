"""Digests and canonical bytes that both sides of the wire compute.  Everything here is pure.

Base64url is without padding (RFC 7515 section 2).  Canonical JSON is sorted keys, no white space, UTF-8; its values are strings,
integers, booleans and containers of them, so it agrees with RFC 8785 for ASCII keys.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

BoundPart = Literal["method", "path", "body"]
TargetKind = Literal["token", "transaction", "instance", "agent", "namespace", "user", "key"]


def b64u(raw: bytes) -> str:
    """Bytes to base64url text without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64u(text: str) -> bytes:
    """Base64url text to bytes, strictly: raises ValueError for padding, white space or a foreign alphabet."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64url") from error
    if b64u(raw) != text:
        raise ValueError("not canonical base64url")
    return raw


def canonical(value: Any) -> bytes:
    """Canonical JSON bytes of plain data."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


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
