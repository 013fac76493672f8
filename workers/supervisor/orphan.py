"""A nats-server that outlived its supervisor (kill -9, power) still holds the port and the streams' files: it is ended before a new one
starts.  Only under the folder's lock, and only a process that runs on this folder's configuration.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import structlog

from workers.common import log

END_S = 10.0
logger = structlog.get_logger()


def remember(conf: Path, pid: int | None) -> None:
    """Which process runs on this configuration."""
    if pid is not None:
        _file(conf).write_text(f"{pid}\n")


async def end_orphan(conf: Path) -> None:
    """End what a dead supervisor left; nothing otherwise."""
    pid = _orphan(conf)
    if pid is None:
        return
    logger.warning(log.ORPHAN_ENDED, pid=pid)
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(handle, number)
                if await _ended(handle):
                    break
        finally:
            os.close(handle)


async def _ended(handle: int) -> bool:
    """A pidfd becomes readable when its process ends (pidfd_open(2))."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(END_S):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
    return True


def _orphan(conf: Path) -> int | None:
    try:
        pid = int(_file(conf).read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(conf) in words else None


def _file(conf: Path) -> Path:
    return conf.with_name("server.pid")
