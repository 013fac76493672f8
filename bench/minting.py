"""The broker alone, without a bus: what a mint costs beside the one signature that nobody can save, in each form; and five hops.

A hop is a whole call: the gateway's decision, the broker's own, the record, the signature.  Five hops of a chain, each decided anew under
the ceiling and the chain of those before it, stand beside five calls that begin a transaction each.
"""

from __future__ import annotations

import time
from typing import Any

from bench.figures import Figure, percentile
from schemas.minting import MintRequest
from tests.support.hotpath import HotPath
from tests.support.invocations import AgentSide
from workers.broker.signer import Committed

MINTS = 1500
CHAINS = 150
HOPS = 5
PURPOSE = "bench.run"


async def figures() -> list[Figure]:
    """Medians; the rate is that of one core."""
    signature_us = _signature_us()
    rows = [Figure("ES256 signature", round(signature_us, 1), "µs")]
    for form in ("txn", "access_token"):
        minted_us, seconds = await _mints(form)
        name = "mint alone" if form == "txn" else "mint alone, access token"
        rows.append(Figure.beside(name, minted_us, "µs", signature_us))
        if form == "txn":
            rows.append(Figure.beside("mint alone, a second", MINTS / seconds, "tokens/s", 1e6 / signature_us))
    chain_ms, single_ms = await _chains()
    rows.append(Figure.beside("five hops, each decided anew", chain_ms, "ms", single_ms))
    return rows


def _signature_us() -> float:
    hot, taken = HotPath(), []
    for n in range(MINTS):
        committed = Committed(b'{"jti":"%d"}' % n + b" " * 1200, n, hot.signer.kid)
        started = time.perf_counter()
        hot.signer.issue_token(committed)
        taken.append(time.perf_counter() - started)
    return percentile(sorted(taken), 0.5) * 1e6


async def _mints(form: str) -> tuple[float, float]:
    """The median of one, and all together in seconds."""
    hot = HotPath({"web-search": {"token_form": form}})
    agent = hot.agent()
    asked: list[MintRequest] = [await hot.allowed(agent) for _ in range(MINTS)]
    taken = []
    for mint in asked:
        started = time.perf_counter()
        await hot.mint.grant(mint)
        taken.append(time.perf_counter() - started)
    return percentile(sorted(taken), 0.5) * 1e6, sum(taken)


async def _chains() -> tuple[float, float]:
    """Medians of five hops, and of five calls that are no chain, in milliseconds."""
    hot = HotPath(_line())
    agents = [hot.agent(id=_agent(n), instance="i" + "abcdefg"[n] * 26) for n in range(HOPS)]
    chains, singles = [], []
    for _ in range(CHAINS):
        chains.append(await _run(hot, agents, chained=True))
        singles.append(await _run(hot, agents, chained=False))
    return percentile(sorted(chains), 0.5) * 1e3, percentile(sorted(singles), 0.5) * 1e3


async def _run(hot: HotPath, agents: list[AgentSide], *, chained: bool) -> float:
    taken, parent = 0.0, None
    for n, agent in enumerate(agents):
        body = agent.body(hot.clock.at, tool=f"hop-{n}", actions=["step"], purpose=PURPOSE, parent=parent if chained else None)
        started = time.perf_counter()
        await hot.gateway.invoke(agent.name, body, hot.clock.at)
        granted = await hot.mint.grant(hot.broker.asked.pop())
        taken += time.perf_counter() - started
        parent = granted.token
    return taken


def _agent(n: int) -> str:
    return f"spiffe://88mph.com/agents/hop-{n}"


def _line() -> dict[str, Any]:
    """Agents in a row, each of which may call the next as a tool."""
    facts: dict[str, Any] = {"agents": {"bounds": {"purposes": ["*"], "tools": ["*"], "actions": ["*"]}}}
    for n in range(HOPS):
        charter = {"purposes": [PURPOSE], "tools": ["hop-*"], "actions": ["step"], "delegates": [_agent(n + 1)], "depth": 8}
        facts[f"a{n}"] = {
            "kind": "agent", "id": _agent(n), "owner": "o", "realm": "first_party", "version": "1", "deployment": "d", "agent_type": "t",
            "charter": charter, "selectors": {"uid": 2000 + n},
        }  # fmt: skip
        facts[f"t{n}"] = {
            "kind": "tool", "name": f"hop-{n}", "owner": "o", "workload": _agent(n + 1), "endpoint": "http://h", "resource": "https://h",
            "actions": ["step"], "purposes": [PURPOSE],
        }  # fmt: skip
        facts[f"r{n}"] = {"kind": "relation", "subject": f"agent:{_agent(n)}", "relation": "operates", "object": f"tool:hop-{n}"}
    return facts
