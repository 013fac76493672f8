"""Bytes with every escape undone, and the way back from there.  Pure.

Undone are URL encoding, also repeated (RFC 3986 section 2.1), JSON and C escapes behind any number of backslashes (RFC 8259 section 7),
HTML character references, the NULs of UTF-16, and line breaks, escaped or not (MIME breaks base64 into lines).  Everything else stays.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"%(?:25)*(?P<percent>[0-9a-f]{2})|\\+u00(?P<unicode>[0-9a-f]{2})|\\+x(?P<hex>[0-9a-f]{2})|&#x0*(?P<html>[0-9a-f]{1,2});"
    rb"|&#0*(?P<decimal>[0-9]{1,3});|&(?P<named>amp|lt|gt|quot|apos);|\\+[rn]|\\+|[\0\r\n]+",
    re.IGNORECASE,
)
_UNFINISHED = re.compile(rb"(?:%(?:25)*[0-9a-f]?|\\+(?:u(?:00?)?[0-9a-f]?|x[0-9a-f]?)?|&(?:#x?)?[0-9a-z]{0,10})\Z", re.IGNORECASE)
_LONGEST = 64  # bytes of an escape; longer ones are no escape of anybody's
_LEFT_OUT = b"\\\0\r\n"
_NAMED = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


@dataclass(frozen=True, slots=True)
class Plain:
    """`data`, and where each stretch of it came from: places here and there, and how many bytes one of here was there (0: itself)."""

    data: bytes
    here: list[int]
    there: list[int]
    widths: list[int]
    size: int

    def start(self, at: int) -> int:
        """Where the byte at this place began."""
        if at >= len(self.data):
            return self.size
        piece = bisect_right(self.here, at) - 1
        return self.there[piece] + (0 if self.widths[piece] else at - self.here[piece])

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a stretch began and ended."""
        last = bisect_right(self.here, end - 1) - 1
        width = self.widths[last]
        return self.start(start), self.there[last] + (width or end - self.here[last])


def plain(data: bytes) -> Plain:
    """Undo what is there."""
    parts: list[bytes] = []
    here, there, widths = [], [], []
    at = size = 0
    for token in _TOKEN.finditer(data):
        start, end = token.span()
        undone = _undone(token)
        for text, began, width in ((data[at:start], at, 0), (undone, start, end - start)):
            if text:
                parts.append(text)
                here.append(size)
                there.append(began)
                widths.append(width)
                size += len(text)
        at = end
    if at < len(data):
        parts.append(data[at:])
        here.append(size)
        there.append(at)
        widths.append(0)
    return Plain(b"".join(parts), here, there, widths, len(data))


def unfinished(data: bytes) -> int:
    """Where an escape begins that the end of the data cuts; its length where none does."""
    found = _UNFINISHED.search(data, max(0, len(data) - _LONGEST))
    return len(data) if found is None else found.start()


def _undone(token: re.Match[bytes]) -> bytes:
    """One byte, or nothing: what is left out as it stands (backslashes, NULs, line breaks) is left out encoded too."""
    match token.lastgroup:
        case None:
            return b""
        case "decimal":
            number = int(token["decimal"])
        case "named":
            return _NAMED[token["named"].lower()]
        case group:
            number = int(token[group], 16)
    return bytes([number]) if number < 256 and number not in _LEFT_OUT else b""
