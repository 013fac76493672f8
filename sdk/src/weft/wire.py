"""The envelope of everything on the wire.  CloudEvents 1.0.2 section 3, JSON format, structured mode (NATS binding 3.2).

Parsing is lenient where the specification asks for it (unknown attributes) and strict everywhere else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from weft.errors import Malformed
from weft.strictjson import parse_object

CONTENT_TYPE = "application/cloudevents+json"
HEADERS = {"Content-Type": CONTENT_TYPE}
FAILED = "org.weft.failed.v1"  # the typed refusal of anything that is not an invocation
MAX_EVENT_BYTES = 262_144  # the server's max_payload
_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True)
class Event:
    """What of an envelope counts.  `data` is plain, unchecked JSON."""

    id: str
    source: str
    type: str
    data: dict[str, Any]


def event(type_: str, data: Mapping[str, Any], *, source: str, id: str | None = None) -> bytes:  # noqa: A002 - CloudEvents' name
    """One event as bytes.  `source` and `id` together are unique: keep the `id` when sending the same event again."""
    envelope = {
        "specversion": "1.0",
        "id": id or token_hex(16),
        "source": source,
        "type": type_,
        "time": datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z",
        "datacontenttype": "application/json",
        "data": data,
    }
    return _JSON.encode(envelope).encode()


def parse(raw: bytes) -> Event:
    """Bytes to an event; raises Malformed."""
    if len(raw) > MAX_EVENT_BYTES:
        raise Malformed("the event is too large")
    envelope = parse_object(raw, "the event")
    texts = [envelope.get(name) for name in ("id", "source", "type")]
    if envelope.get("specversion") != "1.0" or not all(isinstance(text, str) and text for text in texts):
        raise Malformed("not a CloudEvent 1.0")
    data = envelope.get("data")
    if not isinstance(data, dict):
        raise Malformed("the event's data is not a JSON object")
    return Event(str(texts[0]), str(texts[1]), str(texts[2]), data)
