"""Security events, typed: one module per family, one class per type.  `read_event` goes from a SET's `events` member to a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from schemas.events import caep, risc, ssf
from schemas.events.common import CAEP, RISC, SSF, CAEPEvent, Event, UnknownEvent

__all__ = ["BY_URI", "CAEP", "RISC", "SSF", "CAEPEvent", "Event", "UnknownEvent", "caep", "read_event", "risc", "ssf"]

BY_URI: dict[str, type[Event]] = {model.URI: model for model in (*caep.EVENTS, *risc.EVENTS, *ssf.EVENTS)}


def read_event(uri: str, payload: Mapping[str, Any]) -> Event:
    """The payload of that type; `UnknownEvent` where nobody here knows it.

    Raises ValueError (pydantic's, whose text quotes nothing) where a member the type requires is missing or one is not what it must be.
    """
    try:
        raw = orjson.dumps(payload)
    except orjson.JSONEncodeError:
        raise ValueError("a member that no other reader of JSON would take, such as an integer beyond 64 bits") from None
    return BY_URI.get(uri, UnknownEvent).model_validate_json(raw)
