"""Reports that nobody waits for: refused calls, and uses that could not be reported in time.  Bounded; what does not fit is counted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from weft.errors import Unavailable

MAX_WAITING = 1000
DEADLINE_S = 15.0
GRACE_S = 1.0  # at the end

Report = Callable[[Mapping[str, Any], str, float], Awaitable[int]]
logger = logging.getLogger("weft.reports")


class Reports:
    """A queue and the task that empties it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._waiting: asyncio.Queue[tuple[Mapping[str, Any], str]] = asyncio.Queue(MAX_WAITING)
        self._task: asyncio.Task[None] | None = None
        self.lost = 0

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="weft reports")

    def put(self, data: Mapping[str, Any], report_id: str) -> None:
        """Leave one here."""
        try:
            self._waiting.put_nowait((data, report_id))
        except asyncio.QueueFull:
            self.lost += 1

    async def stop(self) -> None:
        """Place what is left within the grace, then end."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(GRACE_S):
                await self._waiting.join()
        except TimeoutError:
            self.lost += self._waiting.qsize()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def _run(self) -> None:
        while True:
            data, report_id = await self._waiting.get()
            try:
                await self._report(data, report_id, DEADLINE_S)
            except Unavailable as error:
                self.lost += 1
                logger.warning("report_lost", extra={"detail": str(error)})
            finally:
                self._waiting.task_done()
