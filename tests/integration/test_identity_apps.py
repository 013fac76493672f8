"""Issuer and admission as workers, with what they stand on: from a launched program to a connection on the bus, and back out."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from weft.digest import target_digest

from config.settings import SettingsError
from schemas.commands import CUT_ORDERED, CutOrder
from schemas.facts import Posture
from streams.bus import event
from streams.subjects import CUT
from tests.support import fabric
from tests.support.actors import agent
from tests.support.facts import body
from tests.support.identities import ADVISOR
from tests.support.workers import ROOT, running
from workers.admission import app as admission
from workers.issuer import app as issuer
from workers.issuer.kernel import Process, boot_id, instance_of, start_ticks
from workers.issuer.service import api_socket
from workers.revocation import app as revocation

# Connects as the SDK does, and says when it is in and when it is out; an order on stdin makes it connect again, with a new key.
PROGRAM = """
import asyncio, json, os, sys
from nats.aio.client import Client
from spiffe import WorkloadApiClient
from weft.nkey import KeyPair

def say(**what): print(json.dumps(what), flush=True)
async def once():
    key, nc = KeyPair("U"), Client()
    with WorkloadApiClient() as api:
        svid = api.fetch_jwt_svid({f"weft:{os.environ['WEFT_TRUST_DOMAIN']}:{key.public}"}, timeout=5).token
    async def quiet(*_): pass
    async def closed(): say(state="out")
    try:
        await nc.connect(os.environ["WEFT_SERVERS"].split(","), nkeys_seed_str=key.seed, token=f"agent {svid}", connect_timeout=5,
                         allow_reconnect=False, error_cb=quiet, closed_cb=closed)
    except Exception as error:
        return say(state="refused")
    say(state="in")
async def main():
    loop = asyncio.get_running_loop()
    while True:
        await once()
        if not await loop.run_in_executor(None, sys.stdin.readline): return
asyncio.run(main())
"""


class World:
    def __init__(self, server: fabric.FabricServer, program: Path) -> None:
        self.server = server
        self.program = program

    async def launch(self) -> asyncio.subprocess.Process:
        code = (
            "import asyncio, sys; from pathlib import Path; from config.settings import Settings; from workers.issuer.launch import launch;"
            "asyncio.run(launch(Settings.model_validate_json(sys.argv[1]), sys.argv[2], sys.argv[3:]))"
        )
        pipe = asyncio.subprocess.PIPE
        argv = (sys.executable, "-c", code, self.server.settings.model_dump_json(), ADVISOR, sys.executable, str(self.program))
        return await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, cwd=ROOT)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="weft"))  # short: a socket's path has 107 bytes
    program = folder / "agent.py"
    program.write_text(PROGRAM)
    server = await fabric.start(folder / "state")
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        stack.push_async_callback(server.close)
        await server.put_facts(body(agent(selectors={"command": ["{python}", str(program)]})))
        await stack.enter_async_context(running(revocation.build, server.settings))
        admitting = await stack.enter_async_context(running(admission.build, server.settings))
        await asyncio.wait_for(admitting.runtime.wait_current(), 10)
        await stack.enter_async_context(running(issuer.build, server.settings))
        yield World(server, program)


async def state(program: asyncio.subprocess.Process) -> str:
    assert program.stdout is not None
    said: str = json.loads(await asyncio.wait_for(program.stdout.readline(), 15))["state"]
    return said


async def again(program: asyncio.subprocess.Process) -> str:
    assert program.stdin is not None
    program.stdin.write(b"\n")
    return await state(program)


async def end(program: asyncio.subprocess.Process) -> None:
    await asyncio.wait_for(program.communicate(b""), 15)


async def test_from_a_launched_program_to_a_connection_and_out(world: World) -> None:
    """INVARIANT: the instance that the kernel attested is what quarantine falls on: not its key, not its SVID, not its type.

    An instance id chosen by the connection would let the quarantined process back in with its next key.
    """
    one, two = await world.launch(), await world.launch()
    assert [await state(one), await state(two)] == ["in", "in"]
    posture = Posture(scope="instance", target=target_digest("instance", instance(one)), level="quarantined", causes=())
    await world.server.put_facts(posture)
    assert await state(one) == "out"
    assert await again(one) == "refused"
    assert await again(two) == "in"
    await end(one)
    await end(two)


def instance(program: asyncio.subprocess.Process) -> str:
    """What the issuer has to say of it."""
    return instance_of(Process(program.pid, start_ticks(program.pid), 0, 0, "", "", ()), boot_id())


async def test_an_order_to_cut(world: World) -> None:
    one = await world.launch()
    assert await state(one) == "in"
    gateway = await world.server.worker("signals")
    await gateway.publish(CUT.at(), b"garbage")
    name = f"{instance(one)}.88mph~com.agents.advisor"
    await gateway.publish(CUT.at(), event(CUT_ORDERED, CutOrder(name=name, cause="limits"), source="/weft/gateway"))
    assert await state(one) == "out"
    assert await again(one) == "in"
    await end(one)


async def test_the_issuer_follows_the_facts(world: World) -> None:
    one = await world.launch()
    assert await state(one) == "in"
    await world.server.put_facts(body(agent(state="suspended", selectors={"command": ["{python}", str(world.program)]})))
    assert await state(one) == "out"
    one.kill()
    await one.wait()


def test_no_development_issuer_in_production(world: World) -> None:
    """INVARIANT: a fabric that is configured for production runs no development issuer.

    Leaving it to operators not to start it would make one mistake a second root of identities.
    """
    with pytest.raises(SettingsError, match="production"):
        issuer.build(world.server.settings.model_copy(update={"mode": "production"}))
    assert api_socket(world.server.settings).is_socket()
    assert api_socket(world.server.settings).stat().st_mode & 0o777 == 0o666  # anyone may ask; who they are decides


async def test_the_server_is_killed_and_comes_back(world: World) -> None:
    """Admission's three connections come back by themselves; who returns is decided anew."""
    one = await world.launch()
    assert await state(one) == "in"
    await world.server.server.kill()
    assert await state(one) == "out"
    await world.server.server.start()
    async with asyncio.timeout(20):
        while await again(one) != "in":  # noqa: ASYNC110 - it connects again each time; views become fresh with the first beacon
            await asyncio.sleep(0.2)
    await end(one)
