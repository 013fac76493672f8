"""`weft up` as people run it: a process, its ready line, its signals, and what it does when parts of it die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from schemas.reasons import DenyReason
from workers.common.operator_client import OperatorClient, Refused
from workers.supervisor.roster import ISSUER, WORKERS

READY_S = 40
WEFT = (sys.executable, "-m", "workers.cli.main")


@asynccontextmanager
async def up(folder: Path, *options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict]]:
    """A fabric that is ready, and what it said; terminated at the end, and waited for."""
    with (folder.parent / "up.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *WEFT, "--json", "up", "--dir", str(folder), "--port", "0", "--edge-port", "0", *options,
            stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        line = await asyncio.wait_for(process.stdout.readline(), READY_S)
        assert line, (folder.parent / "up.log").read_text()[-2000:]
        yield process, json.loads(line)["ready"]
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), 40)


async def weft(folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *WEFT, *arguments, "--dir", str(folder), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, out.decode(), err.decode()


def children(pid: int) -> dict[int, str]:
    """Its children and their command lines, as the kernel has them."""
    pids = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return {child: Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode() for child in pids}


def the(found: dict[int, str], words: str) -> int:
    return next(pid for pid, line in found.items() if words in line)


async def gone(pid: int) -> None:
    """Once the process has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(handle, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 30)
    finally:
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)


async def ready_again(edge: str) -> dict:
    """What readiness says once it is good again; the edge itself is the event's only witness from outside."""
    async with httpx.AsyncClient(base_url=edge, timeout=10) as http, asyncio.timeout(40):
        while True:
            with suppress(httpx.HTTPError):
                if (answer := await http.get("/readyz")).status_code == 200:
                    return answer.json()
            await asyncio.sleep(0.2)


async def test_up_then_down_then_up_again(tmp_path):
    """Verifies that one command makes a fabric, a signal ends all of it, and the next start continues where it was."""
    folder = tmp_path / "fabric"
    async with up(folder) as (process, ready):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert ready["dir"] == str(folder)
        server = the(children(process.pid), "nats-server")
        assert (await ready_again(ready["edge"]))["ready"]
        status, out, _ = await weft(folder, "--json", "status")
        facts = json.loads(out)["fabric"]["facts"]
        assert status == 0
        again, _, err = await weft(folder, "up", "--port", "0", "--edge-port", "0")
        assert (again, "another `weft up`" in err) == (1, True)
    assert process.returncode == 0
    await gone(server)
    async with up(folder, "--count", "2") as (_, ready):
        assert (await ready_again(ready["edge"]))["ready"]
        assert f'"workers": {2 * len(WORKERS) + 1}' in (tmp_path / "up.log").read_text()
        status, out, _ = await weft(folder, "--json", "status")
        assert (status, json.loads(out)["fabric"]["facts"]) == (0, facts), "the first facts are written once"


async def test_a_server_that_is_killed_comes_back_and_everyone_with_it(tmp_path):
    async with up(tmp_path / "fabric") as (process, ready):
        server = the(children(process.pid), "nats-server")
        os.kill(server, signal.SIGKILL)
        await gone(server)
        assert (await ready_again(ready["edge"]))["ready"]
        assert the(children(process.pid), "nats-server") != server
        assert (await weft(tmp_path / "fabric", "get", "namespace"))[0] == 0


async def test_processes_of_their_own_are_built_anew_and_end_with_their_supervisor(tmp_path):
    """Verifies `--processes`: one process a worker, a killed one comes back, and none outlives a supervisor that is killed."""
    folder = tmp_path / "fabric"
    async with up(folder, "--processes") as (process, ready):
        before = children(process.pid)
        assert {line.split(" run ")[1].split()[0] for line in before.values() if " run " in line} == {*WORKERS, ISSUER}
        gateway = the(before, "run gateway")
        os.kill(gateway, signal.SIGKILL)
        await gone(gateway)
        assert (await ready_again(ready["edge"]))["ready"]
        assert the(children(process.pid), "run gateway") != gateway
        left = children(process.pid)
        process.kill()
        await process.wait()
        for pid in left:
            if "nats-server" not in left[pid]:
                await gone(pid)
        server = the(left, "nats-server")
        assert Path("/proc", str(server)).exists(), "nothing tells a nats-server that its parent is gone"  # noqa: ASYNC240
    async with up(folder) as (_, ready):
        await gone(server)
        assert (await ready_again(ready["edge"]))["ready"]


async def test_a_stranger_is_nobody(tmp_path):
    """The first person's key is a fact; any other key is refused, whatever it asks."""
    from weft.nkey import KeyPair

    from config.settings import load
    from workers.common.operator_client import Unreachable

    async with up(tmp_path / "fabric"):
        settings = load(tmp_path / "fabric", {})
        with pytest.raises((Refused, Unreachable)) as raised:
            async with OperatorClient(settings, KeyPair("U").seed) as client:
                await client.query(what="status")
        if isinstance(raised.value, Refused):
            assert raised.value.reason == DenyReason.NOT_AUTHORIZED


async def test_a_folder_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "fabric").mkdir()
    (tmp_path / "fabric" / "fabric.json").write_text('{"edge_host": "0.0.0.0"}')
    status, _, err = await weft(tmp_path / "fabric", "up", "--port", "0", "--edge-port", "0")
    assert status == 2
    assert "certificate" in err
