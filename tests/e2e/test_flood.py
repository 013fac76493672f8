"""Verifies that one agent, in every way it has, cannot take the fabric from another."""

import time
from collections import Counter
from pathlib import Path

import pytest
from weft.spiffeid import SpiffeID

from schemas import record
from schemas.facts import Kind, Relation, Selectors
from tests.support import flood
from workers.admission.returning import BURST, RATE_PER_S
from workers.demo.scene import ADVISOR

CALLS = 1000
WITHIN_S = 90
SLACK_S = 15  # from its first connection to the first call, and until the record is read
AGENTS = "spiffe://88mph.com/agents"


async def started(scene, mode):
    """An agent like the advisor, which runs the flood's program in one of its modes."""
    spiffe_id = f"{AGENTS}/{mode}"
    advisor = await scene.fact(Kind.AGENT, SpiffeID.parse(ADVISOR).subject)
    command = ("{python}", str(Path(flood.__file__)), mode)
    charter = advisor.charter.model_copy(update={"actions": ("check",), "tools": ("fraud-check",)})
    agent = advisor.model_copy(update={"id": spiffe_id, "selectors": Selectors(command=command), "charter": charter})
    await scene.put(agent, Relation(subject=f"agent:{spiffe_id}", relation="operates", object="tool:fraud-check"), reason="scenario")
    return await scene.stage.launch(spiffe_id, flood.__file__, mode, title=mode)


@pytest.mark.timeout(150)
async def test_one_floods_in_every_way_and_another_s_thousand_calls_succeed(scene):
    """INVARIANT: an agent that floods its subjects, others' subjects, the gateway with good requests, and admission with connections costs
    another agent none of a thousand calls, and RECORD no more than what its limits are.

    Limits that are shared or that come after the work, a queue without a bound, or a record for every attempt would break it.
    """
    steady, *floods = [await started(scene, mode) for mode in ("call", "flood", "storm")]
    began = time.time()
    assert await steady.ask("call", within_s=WITHIN_S, count=CALLS) == {"granted": CALLS, "refused": []}
    assert [one.title for one in floods if one.process.returncode is not None] == [], "they go on"
    for one in floods:
        await one.stop()
    ended = time.time()
    found = {"flood": Counter(), "storm": Counter()}
    async for row in scene.stage.operator.replay(types=(record.ADMITTED, record.LIMITED)):
        data = row["event"]["data"]
        for mode, counted in found.items():
            if str(data.get("name") or data.get("caller")).endswith(f".agents.{mode}"):
                counted[row["event"]["type"]] += 1
    assert found["flood"][record.LIMITED], found
    assert found["storm"][record.ADMITTED] <= BURST + RATE_PER_S * (ended - began + SLACK_S), found
    assert found["storm"][record.ADMITTED] >= BURST, "it did try"
