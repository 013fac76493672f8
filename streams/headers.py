"""The header block of a message, read once per name.  NATS ADR-4: `Name: Value` lines.

nats-py asks of every character of every name whether it is a space: 2 to 4 µs of each message, of 21 that a fact costs at load.  A name
that was read before is looked up here; a new one is read by nats-py itself, so what is accepted stays the same.
"""

from __future__ import annotations

from nats.aio.client import Client

MAX_NAMES = 256


class HeaderClient(Client):
    """A connection that remembers the names of headers."""

    _names: dict[bytes, str] = {}

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        names, found = HeaderClient._names, {}
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
