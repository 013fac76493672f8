"""Takes a secret out of bytes that stream by, in every form in which a server is likely to echo it.  Pure.

Two views of the bytes are searched: as they are, and with every escape undone (`plain`).  In these a secret stands as itself, in any
case; as hex, with separators or not; or inside base64 of either alphabet at any of its three alignments.  What is found is overwritten
with as many `*`, so that lengths that were announced stay true; what may be the beginning of a form is held back until the next bytes
decide.

What it cannot see: a secret that the sender cuts to pieces, encrypts, or encodes twice by other means.  An upstream that means to hand
its own secret to its caller can do that; what is kept from the caller here is what an honest one lets slip.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

from workers.egress.plain import Plain, plain, unfinished

MIN_BYTES = 6  # of a form; fewer would be found in other text
_SEPARATORS = (b"", b":", b" ", b"-", b",", b", ", b", 0x", b",0x")
_URLSAFE = bytes.maketrans(b"-_", b"+/")
Span = tuple[int, int]


class Scrubber:
    """One direction of one exchange.  `found` counts what was overwritten."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        held = tuple(secrets)
        self._as_is = _needles(secret.lower() for secret in held)
        bare = [plain(secret).data for secret in held]
        spaced = [one.replace(b" ", b"+") for one in bare]  # application/x-www-form-urlencoded
        hexes = [separator.join(b"%02x" % byte for byte in secret) for secret in held for separator in _SEPARATORS]
        self._lowered = _needles(one.lower() for one in (*bare, *spaced, *hexes))
        self._base64 = _needles(form for secret in held for form in _base64(secret))
        self._tail = b""
        self.found = 0

    def feed(self, data: bytes) -> bytes:
        """What may be passed on now."""
        return self._scrubbed(self._tail + data, more=True)

    def finish(self) -> bytes:
        """What was held back, now that nothing follows."""
        return self._scrubbed(self._tail, more=False)

    def all(self, data: bytes) -> bytes:
        """Something whole, a header's value say."""
        return self._scrubbed(data, more=False)

    def _scrubbed(self, data: bytes, *, more: bool) -> bytes:
        undone = plain(data)
        spans = sorted(self._spans(data, undone))
        keep = self._undecided(data, undone) if more else len(data)
        out, passed = bytearray(data), 0
        for start, end in spans:
            out[start:end] = b"*" * (end - start)
            passed = max(passed, end)
            self.found += 1
        keep = max(keep, passed)  # what is overwritten is decided
        self._tail = data[keep:]
        return bytes(out[:keep])

    def _spans(self, data: bytes, undone: Plain) -> Iterator[Span]:
        yield from _found(data.lower(), self._as_is)
        for view, needles in ((undone.data.lower(), self._lowered), (undone.data.translate(_URLSAFE), self._base64)):
            yield from (undone.span(start, end) for start, end in _found(view, needles))

    def _undecided(self, data: bytes, undone: Plain) -> int:
        """From where on the next bytes may complete a form, or an escape."""
        cut = unfinished(data)
        undone = undone if cut == len(data) else plain(data[:cut])
        views = ((undone.data.lower(), self._lowered), (undone.data.translate(_URLSAFE), self._base64))
        begun = [undone.start(_begun(view, needles)) for view, needles in views]
        return min(_begun(data.lower(), self._as_is), cut, *begun)


def _needles(forms: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(form for form in forms if len(form) >= MIN_BYTES))


def _found(view: bytes, needles: Iterable[bytes]) -> Iterator[Span]:
    for needle in needles:
        at = view.find(needle)
        while at >= 0:
            yield at, at + len(needle)
            at = view.find(needle, at + len(needle))


def _begun(view: bytes, needles: Iterable[bytes]) -> int:
    """The first place from which on the view's end is the beginning of a needle; its length where there is none."""
    first = len(view)
    for needle in needles:
        at = view.find(needle[:1], max(0, len(view) - len(needle) + 1), first)
        while at >= 0 and not needle.startswith(view[at:]):
            at = view.find(needle[:1], at + 1, first)
        first = at if at >= 0 else first
    return first


def _base64(secret: bytes) -> Iterator[bytes]:
    """The characters that the secret alone determines, at each alignment."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret)
        yield encoded[-(-8 * before // 6) : 8 * (before + len(secret)) // 6]
