"""That RECORD can be written."""

from __future__ import annotations

from schemas.base import Wire

CANARY = "org.weft.record.canary.v1"


class Canary(Wire):
    """Nothing happened: a worker was asked after its health, and shows that RECORD acknowledges what it publishes."""

    worker: str
