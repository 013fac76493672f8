"""Bodies of messages: CloudEvents 1.0.2 in structured JSON (NATS protocol binding section 3.2), made and read in one place."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from secrets import token_hex
from typing import TypeVar

import orjson
from pydantic import ValidationError

from schemas.base import Wire
from schemas.envelope import CONTENT_TYPE, CloudEvent
from streams.serverconf import MAX_PAYLOAD_BYTES

HEADERS = {"Content-Type": CONTENT_TYPE}
DataT = TypeVar("DataT", bound=Wire)


class Malformed(ValueError):
    """The body is not the event it should be.  The message never repeats a part of it."""


def event(
    type_: str,
    data: Wire,
    *,
    source: str,
    id: str | None = None,  # noqa: A002 - CloudEvents' own name
    subject: str | None = None,
    traceparent: str | None = None,
) -> bytes:
    """An event as the body of a message.  Without `id` it gets a fresh one."""
    return event_of(type_, data.wire(), source=source, id=id, subject=subject, traceparent=traceparent)


def event_of(
    type_: str,
    data: bytes,
    *,
    source: str,
    id: str | None = None,  # noqa: A002 - CloudEvents' own name
    subject: str | None = None,
    traceparent: str | None = None,
) -> bytes:
    """The same around data that is JSON already."""
    attributes = {
        "specversion": "1.0",
        "id": id or token_hex(16),
        "source": source,
        "type": type_,
        "time": datetime.now(UTC),
        "datacontenttype": "application/json",
    }
    if subject is not None:
        attributes["subject"] = subject
    if traceparent is not None:
        attributes["traceparent"] = traceparent
    attributes["data"] = orjson.Fragment(data)
    return orjson.dumps(attributes, option=orjson.OPT_UTC_Z)  # RFC 3339 with microseconds


def parse(model: type[DataT], body: bytes) -> CloudEvent[DataT]:
    """The event in a body, its `data` of this model.  Raises Malformed.  Does NOT check `type`: that is the subject's contract."""
    if len(body) > MAX_PAYLOAD_BYTES:
        raise Malformed("longer than any message")
    try:
        return _envelope(model).model_validate_json(body)
    except ValidationError as error:
        raise Malformed(f"not the event expected here: {error.error_count()} rules broken") from None


@cache
def _envelope(model: type[DataT]) -> type[CloudEvent[DataT]]:
    """Parametrised once: pydantic builds a validator for each."""
    return CloudEvent[model]  # type: ignore[valid-type]  # a class that is known at run time only
