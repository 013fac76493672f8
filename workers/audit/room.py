"""How full RECORD is.  A full RECORD refuses, and then nothing is granted (promise 4): somebody has to hear of it before (design 5).

The alarm is said once when the mark is passed, and again when it was left and is passed anew.
"""

from __future__ import annotations

import asyncio

import structlog
from nats.aio.client import Client
from nats.errors import Error as NATSError
from nats.js.errors import Error as JetStreamError

from workers.common import log

STREAM = "RECORD"
ALARM_AT = 0.8
EVERY_S = 10.0
logger = structlog.get_logger()


class Room:
    """`run` belongs to the worker's tasks."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._alarmed = False
        self.full: float | None = None  # of what RECORD may hold, 0 to 1; none: unknown, or without a limit

    async def run(self) -> None:
        """For the worker's life."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Ask the stream.  One that does not answer leaves what was known; its silence is others' to tell."""
        try:
            info = await self._nc.jetstream().stream_info(STREAM)
        except (NATSError, JetStreamError):
            return
        limit = info.config.max_bytes or 0
        self.full = info.state.bytes / limit if limit > 0 else None
        filling = self.full is not None and self.full >= ALARM_AT
        if filling and not self._alarmed:
            logger.error(log.RECORD_FILLING, full=round(self.full or 0.0, 3), bytes=info.state.bytes, max_bytes=limit)
        self._alarmed = filling
