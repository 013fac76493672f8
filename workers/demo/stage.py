"""The stage: one fabric of its own in a folder, the tools and agents as processes, and the person who operates it.

Everything here stands outside the fabric: it starts programs, reads the tools' ledgers, and speaks as an operator or a transmitter
through the public way.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Any, Self

from config.settings import Settings, load
from workers.common.operator_client import OperatorClient

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
START_S = 30.0
UP_S = 90.0
ANSWER_S = 15.0
STOP_S = 10.0


class StageError(Exception):
    """Something did not start; the text says what and where its log is."""


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Program:
    """A process that says `{"ready": ...}` on stdout, and may take a JSON command a line."""

    def __init__(self, title: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.title, self.process, self.log = title, process, log

    @classmethod
    async def start(cls, title: str, command: Sequence[str], env: dict[str, str], log: Path) -> Program:
        """Starts it in a process group of its own, stderr into `log`."""
        with log.open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env=env,
                limit=1 << 20,
                start_new_session=True,
            )
        return cls(title, process, log)

    async def line(self, timeout_s: float = ANSWER_S) -> dict[str, Any]:
        """The next line; raises StageError when the program ends or stays silent."""
        if self.process.stdout is None:
            raise StageError(f"{self.title} has no stdout")
        try:
            async with asyncio.timeout(timeout_s):
                raw = await self.process.stdout.readline()
        except TimeoutError:
            raise StageError(f"{self.title} said nothing for {timeout_s:.0f} s, see {self.log}") from None
        if not raw:
            raise StageError(f"{self.title} ended with status {await self.process.wait()}, see {self.log}")
        answer: dict[str, Any] = json.loads(raw)
        return answer

    async def ask(self, do: str, *, within_s: float = ANSWER_S, **command: Any) -> dict[str, Any]:
        """One command, one answer."""
        if self.process.stdin is None:
            raise StageError(f"{self.title} has no stdin")
        self.process.stdin.write(json.dumps({"do": do, **command}).encode() + b"\n")
        await self.process.stdin.drain()
        return await self.line(within_s)

    async def stop(self) -> None:
        """Terminates its group, and kills what does not go."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.returncode is not None:
                return
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self.process.wait()


class Stage:
    """Start with `async with`; everything it started is gone at the end."""

    def __init__(self, folder: Path, up: Sequence[str] = ()) -> None:
        self.folder = folder
        self.options = tuple(up)
        self.state = folder / "fabric"
        self.logs = folder / "logs"
        self.ports = {name: free_port() for name in ("fraud", "payments", "payments_replica", "search_agent", "web_search")}
        self._stack = AsyncExitStack()
        self.fabric: Program
        self.settings: Settings
        self.operator: OperatorClient

    async def __aenter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            await self._up(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    async def _up(self, stack: AsyncExitStack) -> None:
        command = [
            sys.executable,
            "-P",
            "-m",
            "workers.cli.main",
            "--json",
            "up",
            "--dir",
            str(self.state),
            "--port",
            "0",
            "--edge-port",
            "0",
        ]
        command += self.options
        self.fabric = await Program.start("weft up", command, dict(os.environ), self.logs / "fabric.log")
        stack.push_async_callback(self.fabric.stop)
        await self.fabric.line(UP_S)
        self.settings = load(self.state)
        self.operator = await stack.enter_async_context(self.person())

    def person(self) -> OperatorClient:
        """A connection of the first person's, for `async with`."""
        return OperatorClient(self.settings, (self.state / "operators" / "operator.seed").read_text().strip())

    def manifest(self, **overrides: str) -> Path:
        """The demo's facts with ports and paths filled in, as a folder for `weft apply -f`."""
        target = self.folder / "facts"
        target.mkdir(exist_ok=True)
        values = {f"{name}_port": str(port) for name, port in self.ports.items()} | {"programs": str(PROGRAMS)} | overrides
        for source in sorted((HERE / "facts").glob("*.yaml")):
            (target / source.name).write_text(Template(source.read_text()).substitute(values))
        return target

    async def launch(self, spiffe_id: str, program: str, *arguments: str, title: str = "") -> Program:
        """Starts a program as that identity: `weft agent run SPIFFE-ID -- python PROGRAM ...`; ready when it says so."""
        command = [sys.executable, "-P", "-m", "workers.cli.main", "agent", "run", "--dir", str(self.state), spiffe_id, "--"]
        command += [sys.executable, str(PROGRAMS / program), *arguments]
        title = title or spiffe_id.rpartition("/")[2]
        started = await Program.start(title, command, dict(os.environ), self.logs / f"{title}.log")
        self._stack.push_async_callback(started.stop)
        await started.line(START_S)
        return started

    def ledger(self, name: str) -> Path:
        """Where a tool writes what it did."""
        return self.folder / f"{name}.ledger"

    def served(self, name: str) -> list[dict[str, Any]]:
        """What a tool did."""
        path = self.ledger(name)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
