"""Verifies that readiness is every worker's word, and that silence is not one."""

import asyncio

import pytest

from schemas.health import Health
from workers.edge.readiness import EXPECTED, Readiness, decide_readiness


def health(worker, **changes):
    values = {"copy_id": f"{worker}-1", "ready": True, "facts": 7, "revocations": 1, "recorded": True if worker == "broker" else None}
    return Health(worker=worker, **{**values, **changes})


ALL = [health(worker) for worker in EXPECTED]


def without(worker):
    return [answer for answer in ALL if answer.worker != worker]


@pytest.mark.parametrize(
    ("answers", "ready"),
    [
        (ALL, True),
        ([], False),
        *((without(worker), False) for worker in EXPECTED),
        ([*without("broker"), health("broker", ready=False)], False),
        ([*without("broker"), health("broker", recorded=None)], False),
        ([*without("broker"), health("broker", recorded=False, ready=False)], False),
        ([*without("gateway"), health("gateway", ready=False, fresh=False)], False),
        ([*ALL, health("gateway", copy_id="gateway-2", ready=False)], True),
        ([*without("gateway"), health("gateway", copy_id="gateway-2")], True),
        ([*ALL, health("stranger", ready=False)], True),
    ],
)
def test_verdict(answers, ready):
    """INVARIANT: the fabric is ready only when every worker has a ready copy and RECORD acknowledged an event just now.

    Counting a missing answer as good, or dropping the canary, would break it.
    """
    assert decide_readiness(answers).ready is ready


def test_copies_are_counted_and_the_best_one_is_shown():
    verdict = decide_readiness([*ALL, health("gateway", copy_id="gateway-2", ready=False, facts=9), health("gateway", copy_id="gateway-2")])
    line = next(line for line in verdict.workers if line["worker"] == "gateway")
    assert line["copies"] == 2
    assert line["facts"] == 7


class Bus:
    def __init__(self):
        self.asked = 0

    async def health(self, workers, deadline_s):
        self.asked += 1
        await asyncio.sleep(0)
        return ALL


async def test_many_probes_are_one_question():
    bus = Bus()
    readiness = Readiness(bus)
    verdicts = await asyncio.gather(*(readiness.verdict() for _ in range(50)))
    assert bus.asked == 1
    assert all(verdict.ready for verdict in verdicts)
