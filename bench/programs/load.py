"""An agent that asks for grants as fast as it is told: one JSON command a line, one JSON answer a line.  The SDK alone."""

import asyncio
import json
import sys
import time

import uvloop
from weft.agent import Agent, Grant, HTTPCall

CALL = HTTPCall.json("POST", "/bench", {"order": "84729"})


async def load(agent: Agent, flight: int, calls: int) -> dict[str, object]:
    """`calls` grants with `flight` at once; every refusal is counted by its code."""
    latencies: list[float] = []
    refused: dict[str, int] = {}

    async def worker(share: int) -> None:
        for _ in range(share):
            started = time.perf_counter()
            outcome = await agent.invoke("bench-tool", ["read"], "bench.read", call=CALL)
            latencies.append(time.perf_counter() - started)
            if not isinstance(outcome, Grant):
                refused[outcome.code] = refused.get(outcome.code, 0) + 1

    started = time.perf_counter()
    await asyncio.gather(*(worker(calls // flight) for _ in range(flight)))
    return {"seconds": time.perf_counter() - started, "latencies": sorted(latencies), "refused": refused}


async def main() -> None:
    """Until stdin ends."""
    async with Agent.from_env() as agent:
        reader = asyncio.StreamReader(limit=1 << 20)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        sys.stdout.write(json.dumps({"ready": agent.connection.name}) + "\n")
        sys.stdout.flush()
        while line := await reader.readline():
            command = json.loads(line)
            sys.stdout.write(json.dumps(await load(agent, command["flight"], command["calls"])) + "\n")
            sys.stdout.flush()


uvloop.run(main())
