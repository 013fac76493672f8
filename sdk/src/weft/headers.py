"""The header block of a message, read and written with each name looked at once.  NATS ADR-4: `Name: Value` lines.

nats-py asks of every character of every name that it reads whether it is a space, and matches every name that it writes: 1 to 4 µs of
each message, and a third of what it takes 200 guards to hear of a revocation.  A name that was seen before is looked up here; whatever
is new or odd nats-py does itself, so that what is accepted and what is sent stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from nats.aio.client import Client

MAX_NAMES = 256
MAX_KNOWN_BYTES = 2_048  # of a block that is remembered whole


class HeaderClient(Client):
    """A connection that remembers the names of headers."""

    _names: dict[bytes, str] = {}
    _written: set[str] = set()

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        return dict(_known(raw)) if len(raw) <= MAX_KNOWN_BYTES else _read(raw)

    async def _send_publish(self, subject: str, reply: str, payload: bytes, payload_size: int, headers: Mapping[str, Any] | None) -> None:
        block = self._block(headers) if headers and subject else None
        if block is None:
            await super()._send_publish(subject, reply, payload, payload_size, dict(headers) if headers is not None else None)
            if headers and len(HeaderClient._written) < MAX_NAMES:  # it raised for none of them
                HeaderClient._written.update(name for name in headers if name and name == name.strip())
            return
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += payload_size
        await self._send_command(
            b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject.encode(), reply.encode(), len(block), len(block) + payload_size, block, payload)
        )
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    @staticmethod
    def _block(headers: Mapping[str, Any]) -> bytes | None:
        """The block, where every name was sent before and every value is plain; else none."""
        written = HeaderClient._written
        if not headers.keys() <= written:
            return None
        block = "\r\n".join([f"{name}: {value}" for name, value in headers.items()])
        if block.count("\r") != len(headers) - 1 or block.count("\n") != len(headers) - 1:
            return None
        if any(type(value) is not str or value != value.strip() for value in headers.values()):
            return None
        return f"NATS/1.0\r\n{block}\r\n\r\n".encode()


def _read(raw: bytes) -> dict[str, str]:
    names, found = HeaderClient._names, {}  # noqa: SLF001 - of this module
    for line in raw.split(b"\r\n"):
        name, separator, value = line.partition(b":")
        key = names.get(name)
        if key is not None and separator:
            found[key] = value.strip().decode("utf-8", "replace")
        elif line:
            read = Client._parse_header_lines(line)  # noqa: SLF001 - nats-py is pinned, and a test holds the two together
            found.update(read)
            if read and len(names) < MAX_NAMES:
                names[name] = next(iter(read))
    return found


_known = lru_cache(maxsize=256)(_read)  # many messages have the same block, and one to many guards in a process has it many times
