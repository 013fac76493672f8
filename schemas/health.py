"""How a worker is.  Asked on `weft.health.<worker>` by the edge and by `weft status`; every running copy answers for itself."""

from __future__ import annotations

from typing import Any

from schemas.base import Opaque, Sequence, Wire

ASKED = "org.weft.health.asked.v1"
ANSWERED = "org.weft.health.answered.v1"


class Asked(Wire):
    """`data` of `ASKED`."""

    canary: bool = False  # also publish one event to RECORD and wait for its acknowledgement


class Health(Wire):
    """`data` of `ANSWERED`.  `ready` is the worker's own word: connected, views loaded and fresh, canary acknowledged where asked."""

    worker: str
    copy_id: Opaque  # tells the copies of one worker apart
    ready: bool
    facts: Sequence | None = None  # revision of the facts view; absent where the worker has none
    revocations: Sequence | None = None  # the revocation counter, likewise
    fresh: bool = True  # the views are within their budget
    recorded: bool | None = None  # RECORD acknowledged the canary; absent where none was asked or the worker may not record
    detail: dict[str, Any] = {}
