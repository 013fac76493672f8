"""SETs on a whole fabric: how many a second are answered by an entry, what that does to calls, and how soon a connection is cut."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.fanout import facts_of, risk_set
from bench.figures import Figure, percentile
from bench.invocation import AGENT, HERE, LOAD_S, WARM, register, weft
from config.settings import load
from schemas.commands import Change, Revoke
from schemas.record import CUT
from streams.facts_keys import key_of
from tests.support.identities import Signer
from workers.common.operator_client import OperatorClient
from workers.demo.stage import START_S, Program

LOAD = {"flight": 4, "calls": 2000}
AT_ONCE = 8  # SETs
CUTS = 3
LAG_S = 60.0


async def figures() -> list[Figure]:
    """The rows."""
    folder = Path(tempfile.mkdtemp(prefix="weft-bench-"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        fabric = await weft(folder, "--json", "up", "--processes", "--dir", str(folder), "--port", "0", "--edge-port", "0")
        stack.push_async_callback(fabric.stop)
        await fabric.line(START_S)
        await register(folder)
        operator = await stack.enter_async_context(
            OperatorClient(load(folder), (folder / "operators" / "operator.seed").read_text().strip())
        )
        agents = [await _agent(stack, folder) for _ in range(CUTS)]
        return [*await _storm(operator, agents[0][0], load(folder).issuer), await _cuts(operator, [name for _, name in agents])]


async def _agent(stack: AsyncExitStack, folder: Path) -> tuple[Program, str]:
    program = await weft(folder, "agent", "run", "--dir", str(folder), AGENT, "--", sys.executable, str(HERE / "programs" / "load.py"))
    stack.push_async_callback(program.stop)
    return program, (await program.line(START_S))["ready"]


async def _storm(operator: OperatorClient, agent: Program, audience: str) -> list[Figure]:
    risk = Signer(kid="risk-1")
    await operator.apply([Change(kind=body.kind, key=key_of(body), body=body) for body in facts_of(risk, audience)], reason="bench")
    await agent.ask("load", within_s=LOAD_S, **WARM)
    quiet = await agent.ask("load", within_s=LOAD_S, **LOAD)
    sent, over = 0, asyncio.Event()

    async def send() -> None:
        nonlocal sent
        while not over.is_set():
            answer = await operator.send_set(risk_set(risk, audience))
            if not answer.accepted:
                raise RuntimeError(f"the SET was refused: {answer.err}")
            sent += 1

    started = time.monotonic()
    senders = [asyncio.create_task(send()) for _ in range(AT_ONCE)]
    stormy = await agent.ask("load", within_s=LOAD_S, **LOAD)
    over.set()
    await asyncio.gather(*senders)
    async with asyncio.timeout(LAG_S):
        while (await operator.query(what="status")).rows[0]["revocations"] < sent:  # noqa: ASYNC110 - it is asked for
            await asyncio.sleep(0.05)
    rows = [Figure("SETs answered by an entry", round(sent / (time.monotonic() - started), 1), "SETs/s")]
    for share in (0.5, 0.99):
        during, before = (percentile(ran["latencies"], share) * 1e3 for ran in (stormy, quiet))
        rows.append(Figure.beside(f"invocation p{round(share * 100)} under SETs", during, "ms", before))
    return rows


async def _cuts(operator: OperatorClient, names: list[str]) -> Figure:
    """From the order of a revoker to the record of the cut, which is made once the server has closed the connection."""
    taken = []
    for name in names:
        head, started = await operator.head(), time.time()
        order = Revoke(id=f"bench:{name[:27]}", kind="instance", value=name.partition(".")[0], agent=AGENT, reason="bench")
        await operator.revoke(order)
        async with asyncio.timeout(LAG_S):
            taken.append((await _cut_at(operator, name, head) - started) * 1e3)
    return Figure("connection cut p50", round(percentile(sorted(taken), 0.5), 2), "ms")


async def _cut_at(operator: OperatorClient, name: str, after: int) -> float:
    async for row in operator.replay(after=after, types=(CUT,), follow_s=None):
        event: dict[str, Any] = row["event"]
        if event["data"]["name"] == name:
            return datetime.fromisoformat(event["time"]).timestamp()
    raise RuntimeError("no connection was cut")
