"""The whole way of one call, every promise in force, beside the bare bus's hops: `weft up --processes`, one agent, one tool."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from string import Template

from bench.figures import Figure, percentile
from bench.yardstick import measure
from config.settings import load
from workers.common.manifest import load as load_manifest
from workers.common.operator_client import OperatorClient
from workers.demo.stage import START_S, Program

HERE = Path(__file__).parent
AGENT = "spiffe://88mph.com/agents/bench"
LOADS = [(1, 1500), (4, 3000), (64, 12000)]
LOAD_S = 90.0  # one load, on a slow machine
WARM = {"flight": 16, "calls": 2000}
GENEROUS = {"WEFT_LIMITS": '{"rate_per_s": 100000, "burst": 100000, "in_flight": 256}'}  # the limits stay in force


async def figures() -> list[Figure]:
    """The rows of the table that this module measures.

    Calls are measured with a process for each worker; the first token is that of `weft up` as people type it.
    """
    async with running("--processes") as (agent, _):
        await agent.ask("load", within_s=LOAD_S, **WARM)
        ours = {flight: await agent.ask("load", within_s=LOAD_S, flight=flight, calls=calls) for flight, calls in LOADS}
    async with running() as (_, first_token_s):
        pass
    return [*_table(ours), Figure("first token", round(first_token_s, 2), "s")]


@asynccontextmanager
async def running(*options: str) -> AsyncIterator[tuple[Program, float]]:
    """A fabric, an agent that has got its first grant, and how long that took from the start of `weft up`, in seconds."""
    folder = Path(tempfile.mkdtemp(prefix="weft-bench-"))
    started = time.monotonic()
    fabric = await weft(folder, "--json", "up", *options, "--dir", str(folder), "--port", "0", "--edge-port", "0")
    try:
        await fabric.line(START_S)
        await register(folder)
        agent = await weft(folder, "agent", "run", "--dir", str(folder), AGENT, "--", sys.executable, str(HERE / "programs" / "load.py"))
        try:
            await agent.line(START_S)
            await agent.ask("load", flight=1, calls=1)
            yield agent, time.monotonic() - started
        finally:
            await agent.stop()
    finally:
        await fabric.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _table(ours: dict[int, dict[str, object]]) -> list[Figure]:
    floor = measure(LOADS)
    rows = []
    for flight, ran in ours.items():
        if ran["refused"]:
            raise RuntimeError(f"refused under load: {ran['refused']}")
        latencies: list[float] = ran["latencies"]  # type: ignore[assignment]  # read from our own program's JSON
        p50, p99 = (percentile(latencies, share) * 1e3 for share in (0.5, 0.99))
        name = {1: "invocation p50", 4: "invocation p50 at 4 in flight"}.get(flight, f"invocation p50 at {flight} in flight")
        rows.append(Figure.beside(name, p50, "ms", floor[flight].p50_ms))
        rows.append(Figure.beside(name.replace("p50", "p99"), p99, "ms", floor[flight].p99_ms))
        if flight == max(ours):
            rows.append(Figure.beside("invocation throughput", len(latencies) / float(str(ran["seconds"])), "calls/s", floor[flight].per_s))
    return rows


async def weft(folder: Path, *arguments: str) -> Program:
    """A `weft` command as a program, with limits that a bench does not meet."""
    command = [sys.executable, "-m", "workers.cli.main", *arguments]
    return await Program.start("weft", command, {**os.environ, **GENEROUS}, folder.with_suffix(".log"))


async def register(folder: Path) -> None:
    """The bench's agent and tool, as the operator."""
    facts = folder / "facts"
    facts.mkdir()
    (facts / "bench.yaml").write_text(Template((HERE / "facts.yaml").read_text()).substitute(programs=HERE / "programs"))
    seed = (folder / "operators" / "operator.seed").read_text().strip()
    async with OperatorClient(load(folder), seed) as operator:
        await operator.apply(load_manifest(facts), reason="bench")
