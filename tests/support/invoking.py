"""A fabric on a real server for tests of invocations: the small world's facts, the workers a test names, agents that speak the contract."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from schemas.envelope import CloudEvent
from schemas.invocation import GRANTED, Granted, Refused
from streams import subjects
from streams.bus import HEADERS, parse
from tests.support import fabric as real
from tests.support import world
from tests.support.facts import body as fact_body
from tests.support.identities import Signer
from tests.support.invocations import AgentSide
from tests.support.workers import running


@dataclass
class Invoking:
    """The server, the issuer of SVIDs, and what tests ask of both."""

    server: real.FabricServer
    issuer: Signer = field(default_factory=lambda: Signer(kid="dev1"))

    async def write_world(self) -> None:
        """The facts that calls are decided by."""
        await self.server.put_facts(self.issuer.fact(assurance="development"), *(fact_body(plain) for plain in world.bodies().values()))

    @asynccontextmanager
    async def workers(self, *names: str) -> AsyncIterator[list[Any]]:
        """These, in this process, with current views."""
        async with AsyncExitStack() as stack:
            builds = [import_module(f"workers.{name}.app").build for name in names]
            apps = [await stack.enter_async_context(running(build, self.server.settings)) for build in builds]
            async with asyncio.timeout(10):
                await asyncio.gather(*(app.runtime.wait_current() for app in apps))
            yield apps

    def agent(self, **options: Any) -> AgentSide:
        return AgentSide(self.issuer, **options)

    async def connect(self, agent: AgentSide) -> Client:
        return await self.server.outer("agent", agent.name, agent.key)

    async def invoke(self, nc: Client, agent: AgentSide, **changes: Any) -> Granted | Refused:
        """One call, made and answered."""
        return await self.send(nc, agent, agent.body(time.time(), **changes))

    async def send(self, nc: Client, agent: AgentSide, body: bytes, timeout_s: float = 6) -> Granted | Refused:
        """A message as it is, and the answer."""
        return answer_in((await nc.request(subjects.INVOKE.at(agent.name), body, timeout=timeout_s, headers=HEADERS)).data)

    async def record(self) -> list[tuple[str, dict[str, Any]]]:
        """Everything in RECORD: subject and event."""
        nc = await self.server.worker("audit")
        state = json.loads((await nc.request("$JS.API.STREAM.INFO.RECORD", b"", timeout=2)).data)["state"]
        found = [await _at(nc, seq) for seq in range(1, state["last_seq"] + 1)]
        await nc.close()
        return [(msg.headers["Nats-Subject"], json.loads(msg.data)) for msg in found]

    async def reason(self, explanation: str) -> str:
        """Why something was refused, as RECORD has it."""
        (data,) = [event["data"] for _, event in await self.record() if event["data"].get("explanation") == explanation]
        return data["reason"]


async def _at(nc: Client, seq: int) -> Msg:
    return await nc.request("$JS.API.DIRECT.GET.RECORD", json.dumps({"seq": seq}).encode(), timeout=2)


def answer_in(raw: bytes) -> Granted | Refused:
    """The answer of a gateway, strictly."""
    granted = CloudEvent[dict].model_validate_json(raw).type == GRANTED
    return parse(Granted, raw).data if granted else parse(Refused, raw).data


@asynccontextmanager
async def process(worker: str, settings: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker in a process of its own, ready; killed with -9 at the end, or by the test."""
    values = settings.model_dump_json(exclude={"state"}, exclude_defaults=True, exclude_none=True)
    await asyncio.to_thread(Path(settings.state, "fabric.json").write_text, values)
    read, write = os.pipe()
    command = [sys.executable, "-m", "workers.cli.main", "run", worker, "--dir", str(settings.state), "--ready-fd", str(write)]
    running = await asyncio.create_subprocess_exec(*command, pass_fds=(write,), stdout=asyncio.subprocess.DEVNULL)
    os.close(write)
    try:
        async with asyncio.timeout(30):
            assert await asyncio.to_thread(os.read, read, 1)
        yield running
    finally:
        os.close(read)
        if running.returncode is None:
            running.send_signal(signal.SIGKILL)
        await running.wait()
