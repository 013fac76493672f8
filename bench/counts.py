"""What one granted call costs in messages, round trips, signatures and bytes: counted on the running parts, so the same on every machine.

    python -m bench.counts            # the table, beside bench/baseline.json
    python -m bench.counts --write    # a new baseline, for a change that means to cost more or less

A real server, the real gateway and broker and the SDK; messages and bytes are the server's own counters.  Audit reads later, in
batches, and is not part of a call.  The revocation writer stands still meanwhile, so that no beacon is counted; views may be three
seconds old.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nacl.bindings
import uvloop
from jwt.algorithms import ECAlgorithm
from nats.aio.client import Client
from weft import jws
from weft.agent import Agent, HTTPCall
from weft.connection import Connection
from weft.identity import Identity
from weft.lean import LeanClient
from weft.session import connect

from bench.figures import Figure
from tests.support import fabric
from tests.support.invocations import RESEARCHER
from tests.support.invoking import Invoking, process
from workers.broker.signer import TokenSigner

BASELINE = Path(__file__).parent / "baseline.json"
CALLS = 64  # a stray message or two disappear in the rounding
WARM = 4
SETTLED_S = 2.0  # for the server's counters to stand still
BYTES_WITHIN = 0.02  # of the baseline: counters and times in a message have as many digits as they have
INSTANCE = "i" + "d5" * 13

Counts = dict[str, float]


async def measure() -> Counts:
    """Per granted call, one at a time."""
    with tempfile.TemporaryDirectory(prefix="weft-counts-") as folder:
        server = await fabric.start(Path(folder) / "state")
        try:
            invoking = Invoking(server)
            await invoking.write_world()
            async with (
                process("revocation", server.settings) as writer,
                invoking.workers("broker", "gateway"),
                _agent(invoking) as agent,
            ):
                await _calls(agent, WARM)
                writer.send_signal(signal.SIGSTOP)
                try:
                    return await _count(server, agent)
                finally:
                    writer.send_signal(signal.SIGCONT)
        finally:
            await server.close()


async def _count(server: fabric.FabricServer, agent: Agent) -> Counts:
    before = await _server(server)
    with _counted() as made:
        await _calls(agent, CALLS)
    after = await _server(server)
    told = {name: after[name] - before[name] for name in after}
    return {name: round(count / CALLS, 1) for name, count in {**told, **made}.items()}


async def _calls(agent: Agent, times: int) -> None:
    for _ in range(times):
        granted = await agent.invoke("web-search", ["search"], "web.search.execute", call=HTTPCall("GET", "/search?q=flux"))
        if not granted:
            raise RuntimeError(f"refused: {granted}")


# --- what the server counts ---------------------------------------------------------------------------------------------------


async def _server(server: fabric.FabricServer) -> Counts:
    """Its counters, once they stand still."""
    until = time.monotonic() + SETTLED_S
    last: Counts = {}
    now = await asyncio.to_thread(_read, server.server.monitor)
    while last != now and time.monotonic() < until:
        await asyncio.sleep(0.05)
        last, now = now, await asyncio.to_thread(_read, server.server.monitor)
    return now


def _read(monitor: str) -> Counts:
    varz, jsz = (json.load(urllib.request.urlopen(monitor + path, timeout=5)) for path in ("/varz", "/jsz?streams=true"))
    (record,) = [stream for account in jsz["account_details"] for stream in account["stream_detail"] if stream["name"] == "RECORD"]
    return {
        "messages to the server": varz["in_msgs"],
        "messages from the server": varz["out_msgs"],
        "bytes to the server": varz["in_bytes"],
        "bytes from the server": varz["out_bytes"],
        "records": record["state"]["messages"],
        "record bytes": record["state"]["bytes"],
    }


# --- what the processes do ----------------------------------------------------------------------------------------------------


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    """Requests that wait for an answer, and every signature made or verified, at the libraries where that is possible."""
    made: Counter[str] = Counter({"round trips": 0, "signatures": 0, "verifications": 0})
    places: tuple[tuple[Any, str, str], ...] = (
        (LeanClient, "_request_new_style", "round trips"),
        (nacl.bindings, "crypto_sign", "signatures"),
        (TokenSigner, "issue_token", "signatures"),
        (nacl.bindings, "crypto_sign_open", "verifications"),
        (ECAlgorithm, "verify", "verifications"),
        (jws, "es256_verifies", "verifications"),
    )
    patches = [patch.object(owner, name, _counting(made, what, getattr(owner, name))) for owner, name, what in places]
    for one in patches:
        one.start()
    try:
        yield made
    finally:
        for one in patches:
            one.stop()


def _counting(made: Counter[str], what: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        made[what] += 1
        return call(*args, **kwargs)

    return counted


@asynccontextmanager
async def _agent(invoking: Invoking) -> AsyncIterator[Agent]:
    """An agent of the SDK, placed by the stand-in for admission."""
    await (await invoking.connect(invoking.agent())).close()  # the stand-in is there from now on

    async def svid(audience: str) -> str:
        now = int(time.time())
        return invoking.issuer.sign(
            {"sub": RESEARCHER, "aud": audience, "iat": now, "exp": now + 300, "weft_instance": INSTANCE, "weft_assurance": "development"}
        )

    async def connector(identity: Identity, options: dict[str, Any]) -> Client:
        return await connect(identity, {**options, "token": f"{identity.kind} {identity.name}"})

    async with Agent(Connection([invoking.server.url], "agent", svid, trust_domain="88mph.com", connector=connector)) as agent:
        yield agent


# --- beside the baseline ------------------------------------------------------------------------------------------------------


def baseline() -> Counts:
    """What a call cost when somebody last looked."""
    held: Counts = json.loads(BASELINE.read_text())
    return held


def differing(counts: Counts, held: Counts) -> dict[str, tuple[float | None, float | None]]:
    """What is not as the baseline says, bytes within their tolerance: counted and held."""
    found = {}
    for name in {**counts, **held}:
        now, then = counts.get(name), held.get(name)
        within = now is not None and then is not None and "bytes" in name and abs(now - then) <= BYTES_WITHIN * then
        if now != then and not within:
            found[name] = (now, then)
    return found


async def figures() -> list[Figure]:
    """One row for each count."""
    held = baseline()
    return [
        Figure.beside(f"{name} per call", count, "bytes" if "bytes" in name else "", held.get(name, 0.0))
        for name, count in (await measure()).items()
    ]


def main() -> None:
    """Measures, and prints or writes."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        counts = runner.run(measure())
    if "--write" in sys.argv[1:]:
        BASELINE.write_text(json.dumps(counts, indent=1) + "\n")
    held = baseline() if BASELINE.exists() else {}
    for name, count in counts.items():
        print(f"{name:28} {count:10.1f} {held.get(name, 0.0):10.1f}")


if __name__ == "__main__":
    main()
