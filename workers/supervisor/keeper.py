"""Keeps one copy of one worker alive: in this process, or as a process of its own.

Both kinds behave alike: `start` returns once the copy is ready, `keep` builds it anew with backoff whenever it ends, `stop` ends it for
good.  Each copy has its own connection and credentials in either kind; in one process they still share no object.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

import structlog

from config.settings import Settings
from workers.common import log
from workers.common.logsetup import where
from workers.supervisor.backoff import Backoff
from workers.supervisor.life import live
from workers.supervisor.waiting import first_of

STOP_S = 12.0  # a worker gives requests in flight 5 s, and drains its connection
logger = structlog.get_logger()


class Keeper(ABC):
    """One copy."""

    def __init__(self, worker: str, copy: int) -> None:
        self.worker = worker
        self.copy = copy
        self.ready = asyncio.Event()  # ready once; readiness from then on is the edge's to tell
        self.restarts = 0
        self._stopping = asyncio.Event()

    @abstractmethod
    async def run_once(self) -> None:
        """Run until it ends or `_stopping` is set; sets `ready`."""

    async def keep(self) -> None:
        """Run it until `stop`."""
        backoff = Backoff()
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                await self.run_once()
            except Exception as error:  # noqa: BLE001  # whatever ended it, the answer is the same: say so, build it anew
                # No traceback: it may quote what was being read.
                logger.error(  # noqa: TRY400
                    log.WORKER_FAILED, worker=self.worker, copy=self.copy, error=type(error).__name__, at=where(error)
                )
            if self._stopping.is_set():
                return
            self.restarts += 1
            delay_s = backoff.after(time.monotonic() - began)
            logger.warning(log.WORKER_RESTARTED, worker=self.worker, copy=self.copy, delay_s=round(delay_s, 2))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._stopping.wait()

    def stop(self) -> None:
        """Ask it to end; `keep` returns when it has."""
        self._stopping.set()


class InProcess(Keeper):
    """A copy in this process: its own application, connection and views."""

    def __init__(self, worker: str, copy: int, settings: Settings) -> None:
        super().__init__(worker, copy)
        self._settings = settings

    async def run_once(self) -> None:
        await live(self.worker, self._settings, self._stopping, lambda _: self.ready.set())


class OwnProcess(Keeper):
    """A copy as `weft run WORKER`."""

    def __init__(self, worker: str, copy: int, state: Path) -> None:
        super().__init__(worker, copy)
        self._state = state
        self._ended = asyncio.Event()

    async def run_once(self) -> None:
        self._ended.clear()
        life_read, life_write = os.pipe()  # closed by our end, however we end: then the child ends too
        ready_read, ready_write = os.pipe()
        try:
            process = await self._start(life_read, ready_write)
            watching = asyncio.create_task(self._watch(process, ready_read))
            try:
                await first_of(self._stopping, self._ended)
            finally:
                await terminate(process)
                await watching
        finally:
            os.close(life_write)

    async def _start(self, life_fd: int, ready_fd: int) -> asyncio.subprocess.Process:
        fds = (life_fd, ready_fd)
        words = ("run", self.worker, "--dir", str(self._state), "--life-fd", str(life_fd), "--ready-fd", str(ready_fd))
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # the folder that we were started in is none to import from: a worker holds keys
                "-m",
                "workers.cli.main",
                *words,
                pass_fds=fds,
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # a terminal's Ctrl-C reaches the supervisor alone, which stops all in order
            )
        finally:
            for descriptor in fds:
                os.close(descriptor)

    async def _watch(self, process: asyncio.subprocess.Process, read_fd: int) -> None:
        """The child writes one line once it is ready, and its end closes the pipe."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb"))
        try:
            if await reader.readline():
                self.ready.set()
            await process.wait()
        finally:
            transport.close()
            self._ended.set()


async def terminate(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL for what does not go within `STOP_S`."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await process.wait()
