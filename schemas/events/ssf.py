"""The framework's own events.  SSF 1.0 Final (2025-08-29), sections 8.1.4.1 and 8.1.5.

Their subject is the stream: `{"format": "opaque", "id": <stream_id>}`.  They may be sent on every stream, whatever it asked for.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.events.common import SSF, Event

StreamStatus = Literal["enabled", "paused", "disabled"]


class Verification(Event):
    """Section 8.1.4.1.  `state` is that of the receiver's request, and absent where nobody asked."""

    URI: ClassVar[str] = f"{SSF}verification"
    SUBJECTS: ClassVar[frozenset[str]] = frozenset({"opaque"})

    state: Annotated[str, Field(max_length=1024)] | None = None


class StreamUpdated(Event):
    """Section 8.1.5: the transmitter changed the stream's status by itself."""

    URI: ClassVar[str] = f"{SSF}stream-updated"
    SUBJECTS: ClassVar[frozenset[str]] = frozenset({"opaque"})

    status: StreamStatus
    reason: Annotated[str, Field(max_length=1024)] | None = None


EVENTS = (Verification, StreamUpdated)
