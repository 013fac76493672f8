"""Content codings of an answer, taken off as it streams by: RFC 9110 section 8.4.1 (gzip, deflate), RFC 7932 (br).

We ask for none (`Accept-Encoding: identity`); an upstream that compresses nevertheless must not get a secret past us.  Output is bounded
per step, so that a small input never becomes a large buffer.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

import brotli

STEP_BYTES = 262_144
_GZIP, _DEFLATE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS


class Undecodable(Exception):
    """A coding that we do not know, or data that is not in it."""


class Decoder(Protocol):
    """One coding."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What it decodes to, in bounded parts.  Raises Undecodable."""

    def finish(self) -> None:
        """Raises Undecodable where the data ended early."""


def decoder(header: str) -> Decoder:
    """For the value of `Content-Encoding`; one coding, since several are no use to an honest server.  Raises Undecodable."""
    match header.strip().lower():
        case "" | "identity":
            return Identity()
        case "gzip" | "x-gzip":
            return Zlib(_GZIP)
        case "deflate":
            return Zlib(_DEFLATE)
        case "br":
            return Brotli()
        case _:
            raise Undecodable


class Identity:
    """Nothing to take off."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See Decoder."""
        yield data

    def finish(self) -> None:
        """See Decoder."""


class Zlib:
    """gzip, or deflate in the zlib format."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._inflate = zlib.decompressobj(wbits)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See Decoder.  Members of a gzip file may follow each other."""
        while data:
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(self._wbits)
            self._begun = True
            try:
                out = self._inflate.decompress(data, STEP_BYTES)
            except zlib.error:
                raise Undecodable from None
            if out:
                yield out
            data = self._inflate.unconsumed_tail or self._inflate.unused_data

    def finish(self) -> None:
        """See Decoder."""
        if self._begun and not self._inflate.eof:
            raise Undecodable


class Brotli:
    """br."""

    def __init__(self) -> None:
        self._decompress = brotli.Decompressor()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See Decoder."""
        self._begun = True
        try:
            out = self._decompress.process(data, output_buffer_limit=STEP_BYTES)
            while out or not self._decompress.can_accept_more_data():
                yield out
                out = self._decompress.process(b"", output_buffer_limit=STEP_BYTES)
        except brotli.error:
            raise Undecodable from None

    def finish(self) -> None:
        """See Decoder."""
        if self._begun and not self._decompress.is_finished():
            raise Undecodable
