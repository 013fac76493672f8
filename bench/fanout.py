"""From a SET, on the bus or pushed over HTTP, to the last of 1,000 guards in ten processes that refuses, beside a bare republished message.

`signals` verifies and stores the SET, answers it with a quarantine, `revocation` makes the entry of it; each worker is a process.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import nats
from nats.js.api import RePublish, StreamConfig
from weft.nkey import KeyPair

from bench.figures import Figure, percentile
from bench.yardstick import bare_server
from schemas.facts import Grant, Person, ResponsePolicy, Transmitter, TransmitterCeiling
from schemas.points import SET_DELIVERED, SetAnswer, SetDelivery
from schemas.responses import ResponseRule
from schemas.signals import CAEP
from streams import subjects
from streams.bus import event, parse
from tests.support import fabric
from tests.support.identities import Signer
from tests.support.workers import process
from workers.supervisor.waiting import free_port

PROGRAM = Path(__file__).parent / "programs" / "guards.py"
PROCESSES, EACH = 10, 100
ROUNDS = 15
ROUND_S = 20.0
START_S = 60.0
ROOT = "spiffe://88mph.com"


async def figures() -> list[Figure]:
    """p50 and p99, each beside the bare message."""
    bare, (brought, pushed) = await _bare(), await _guards()
    ways = {f"SET to the last of {PROCESSES * EACH} guards": brought, f"SET by HTTP push to the last of {PROCESSES * EACH} guards": pushed}
    return [
        Figure.beside(f"{name} p{round(share * 100)}", percentile(ours, share), "ms", percentile(bare, share))
        for name, ours in ways.items()
        for share in (0.5, 0.99)
    ]


@asynccontextmanager
async def receivers(url: str, *rest: str) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """Ten processes; the callable gives the time at which the last receiver of all is through the next round."""
    commands = [[url, str(EACH), *rest, *([str(n * EACH)] if rest[0] == "guard" else [])] for n in range(PROCESSES)]
    started = [
        await asyncio.create_subprocess_exec(sys.executable, str(PROGRAM), *command, stdout=asyncio.subprocess.PIPE) for command in commands
    ]

    async def line(one: asyncio.subprocess.Process, within_s: float) -> bytes:
        if one.stdout is None:
            raise RuntimeError("a receiver has no stdout")
        async with asyncio.timeout(within_s):
            return await one.stdout.readline()

    async def last() -> float:
        return max(float(at) for at in await asyncio.gather(*(line(one, ROUND_S) for one in started)))

    try:
        if set(await asyncio.gather(*(line(one, START_S) for one in started))) != {b"ready\n"}:
            raise RuntimeError("a receiver did not start")
        yield last
    finally:
        for one in started:
            if one.returncode is None:
                one.kill()
            await one.wait()


async def _bare() -> list[float]:
    taken = []
    with bare_server() as url:
        nc = await nats.connect(url)
        js = nc.jetstream()
        await js.add_stream(StreamConfig(name="BARE", subjects=["bare.log"], republish=RePublish(src="bare.log", dest="bare.push")))
        async with receivers(url, "bare", "bare.push") as last:
            for _ in range(ROUNDS):
                started = time.time()
                await js.publish("bare.log", b"x" * 700)
                taken.append((await last() - started) * 1e3)
        await nc.close()
    return sorted(taken)


async def _guards() -> tuple[list[float], list[float]]:
    """As a person brings it on the bus, and as a transmitter pushes it to the edge."""
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
        server = await fabric.start(Path(folder) / "state", edge_port=free_port())
        try:
            async with AsyncExitStack() as stack:
                risk = Signer(kid="risk-1")
                bring = await teller(server, risk)
                for worker in ("revocation", "signals", "edge"):
                    await stack.enter_async_context(process(worker, server.settings))
                push = await pusher(stack, server, risk)
                key = server.keys["revocation"]
                raw = key.private.public_key().public_bytes_raw().hex()  # type: ignore[union-attr]
                last = await stack.enter_async_context(receivers(server.url, "guard", key.kid, raw))
                return await _rounds(bring, last), await _rounds(push, last)
        finally:
            await server.close()


async def _rounds(send: Callable[[], Awaitable[None]], last: Callable[[], Awaitable[float]]) -> list[float]:
    taken = []
    for _ in range(ROUNDS):
        started = time.time()
        await send()
        taken.append((await last() - started) * 1e3)
    return sorted(taken)


async def pusher(stack: AsyncExitStack, server: fabric.FabricServer, risk: Signer) -> Callable[[], Awaitable[None]]:
    """The transmitter's own way in: RFC 8935, on a connection that stays open."""
    http = await stack.enter_async_context(httpx.AsyncClient(timeout=ROUND_S))
    url, headers = f"http://127.0.0.1:{server.settings.edge_port}/ssf/receive", {"content-type": "application/secevent+jwt"}

    async def send() -> None:
        answer = await http.post(url, content=risk_set(risk, server.settings.issuer), headers=headers)
        if answer.status_code != 202:
            raise RuntimeError(f"the SET was answered {answer.status_code}")

    return send


async def teller(server: fabric.FabricServer, risk: Signer) -> Callable[[], Awaitable[None]]:
    """A transmitter that may say anything about anybody, and a person who brings its SETs: each about another agent."""
    doc = KeyPair("U")
    await server.put_facts(*facts_of(risk, server.settings.issuer), person(doc))
    nc = await server.outer("operator", doc.public, doc)

    async def send() -> None:
        body = event(SET_DELIVERED, SetDelivery(set=risk_set(risk, server.settings.issuer)), source="/bench")
        answer = parse(SetAnswer, (await nc.request(subjects.SET.at(doc.public), body, timeout=ROUND_S)).data).data
        if not answer.accepted:
            raise RuntimeError(f"the SET was refused: {answer.err}")

    return send


def facts_of(risk: Signer, audience: str) -> tuple[Transmitter, ResponsePolicy]:
    """The transmitter, and a policy that quarantines at its word."""
    ceiling = TransmitterCeiling(
        namespaces=(f"{ROOT}/agents",), strongest="quarantine", subjects_per_minute=1_000_000, signals_per_minute=1_000_000
    )
    rule = ResponseRule(name="high", confidence="high", response="quarantine", scope="agent")
    return (
        Transmitter(iss="https://risk.example", aud=audience, jwks={"keys": [risk.jwk]}, trust={"*": "high"}, ceiling=ceiling),
        ResponsePolicy(name="default", rules=(rule,)),
    )


def person(key: KeyPair) -> Person:
    """Who may bring SETs."""
    return Person(nkey=key.public, name="bench", roles=(Grant(role="transmitter", namespace=ROOT),))


def risk_set(risk: Signer, audience: str, agent: str | None = None) -> str:
    """A CAEP risk-level-change about an agent that no other SET is about."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": "https://risk.example",
        "aud": audience,
        "iat": now,
        "jti": uuid.uuid4().hex,
        "sub_id": {"format": "uri", "uri": agent or f"{ROOT}/agents/bench-{uuid.uuid4().hex}"},
        "events": {f"{CAEP}risk-level-change": {"principal": "WORKLOAD", "current_level": "HIGH"}},
    }
    return risk.sign(claims, typ="secevent+jwt")
