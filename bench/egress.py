"""What the egress adds to a call (guard, report, the credential of this very call) over calling the upstream directly, on one machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from bench.figures import Figure, percentile
from config.settings import OutboundPrivate
from tests.support import fabric
from tests.support.custody import custodian, put
from tests.support.egressing import TOOL, WORKERS, Egressing, Upstream, tool, upstream
from tests.support.invoking import Invoking
from workers.supervisor.waiting import free_port

CALLS = 150
WARM = 20


async def figures() -> list[Figure]:
    """p50 and p99 in milliseconds beyond the direct call; with the token in hand, whose cost other rows show."""
    with TemporaryDirectory(prefix="weft-bench-egress-") as folder:
        server = await fabric.start(Path(folder) / "state")
        server.settings = server.settings.model_copy(
            update={"egress_port": free_port(), "outbound_private": OutboundPrivate(upstreams=("127.0.0.0/8",))}
        )
        try:
            async with upstream() as up:
                direct, through = await _measured(server, up)
        finally:
            await server.close()
    rows = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        bare, ours = percentile(direct, share) * 1e3, percentile(through, share) * 1e3
        rows.append(Figure(f"egress {name}", round(ours - bare, 2), "ms over", round(bare, 2), round(ours / bare, 2)))
    return rows


async def _measured(server: fabric.FabricServer, up: Upstream) -> tuple[list[float], list[float]]:
    invoking = Invoking(server)
    await invoking.write_world()
    async with invoking.workers(*WORKERS) as apps, httpx.AsyncClient(timeout=10) as http:
        await _keep(next(app for app in apps if app.runtime.worker == "egress"), server, up)
        agent = invoking.agent()
        here = Egressing(invoking, up, None, await invoking.connect(agent), agent, apps)  # type: ignore[arg-type]  # nobody keeps keys here
        granted = await here.grant("GET", "/ok")
        url, headers = f"{granted.endpoint}/ok", {"Txn-Token": granted.token or ""}

        async def direct() -> int:
            return (await http.get(f"http://127.0.0.1:{up.port}/v1/ok", headers={"X-Api-Key": "a-secret-for-the-bench"})).status_code

        async def through() -> int:
            return (await http.get(url, headers=headers)).status_code

        found = await _times(direct), await _times(through)
        await here.http.aclose()
    return found


async def _keep(egress: Any, server: fabric.FabricServer, up: Upstream) -> None:
    """The credential and the tool, and that the egress knows it."""
    keymaster = await custodian(server, None)
    await put(keymaster.client, "bench-key", (f"127.0.0.1:{up.port}",), "a-secret-for-the-bench")
    await server.put_facts(tool(TOOL, server, up, "bench-key"))
    while egress.runtime.detail()["tools"] != 1:  # noqa: ASYNC110 - the guard tells nobody
        await asyncio.sleep(0.02)


async def _times(call: Callable[[], Awaitable[int]]) -> list[float]:
    for _ in range(WARM):
        await call()
    taken = []
    for _ in range(CALLS):
        began = time.perf_counter()
        if await call() != 200:
            raise RuntimeError("refused")
        taken.append(time.perf_counter() - began)
    return sorted(taken)
