"""Drills on a real server: the broker's real tokens, real guards, and one that lies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from weft.errors import GuardReason
from weft.guard import Guard
from weft.guard import Refused as GuardRefused
from weft.nkey import KeyPair

from schemas.drills import Run
from schemas.facts import Grant, Person
from schemas.record import CANARY_ISSUED, COMPLETED, DRILLED, UNCONTAINED
from tests.support.fabric import FabricServer
from tests.support.guarded import ASKED, Place, place
from tests.support.workers import running
from workers.broker.app import build as broker
from workers.common.operator_client import OperatorClient, Refused

ROOT = "spiffe://88mph.com"
DOC, CLERK = KeyPair("U"), KeyPair("U")
SECOND = "i" + "d5" * 13


def person(key: KeyPair, namespace: str) -> Person:
    return Person(nkey=key.public, name="doc", roles=(Grant.model_validate({"role": "revoker", "namespace": namespace}),))


@asynccontextmanager
async def fabric(server: FabricServer) -> AsyncIterator[tuple[Place, list[Guard]]]:
    """Registry, revocation and broker; two guards of one tool."""
    await server.put_facts(person(DOC, ROOT), person(CLERK, f"{ROOT}/tools"))
    async with place(server) as made, running(broker, server.settings):
        guards = [await made.guard(await made.connection(instance)) for instance in ("i" + "c4" * 13, SECOND)]
        yield made, guards


async def drilled(server: FabricServer, key: KeyPair = DOC) -> dict[str, Any]:
    nc = await server.outer("operator", key.public, key)
    return (await OperatorClient.over(nc, server.settings, key.seed).drill(Run(id="r1"))).rows[0]


async def test_every_guard_says_itself_that_it_refuses(fabric_server: FabricServer) -> None:
    """INVARIANT: a drill passes when each live guard accepted a real token and then refused it, by its own check and not by its word.

    Broken by counting acknowledgements, or by a token that a guard would refuse anyway.
    """
    async with fabric(fabric_server) as (made, guards):
        seen: list[str] = []
        for guard in guards:
            verify = guard._drills._verify
            guard._drills._verify = lambda token, verify=verify: (seen.append(token), verify(token))[1]
        report = await drilled(fabric_server)
        assert report["passed"], report
        assert {(p["point"].partition(".")[0], p["state"], p["reason"]) for p in report["points"]} == {
            ("i" + "c4" * 13, "refused", "token_revoked"),
            (SECOND, "refused", "token_revoked"),
        }
        assert 0 <= report["p50_ms"] <= report["last_ms"] < 3000
        for guard in guards:  # whoever gets hold of a canary gets nothing
            with pytest.raises(GuardRefused) as refused:
                await guard.check(seen[0], ASKED)
            assert refused.value.reason in (GuardReason.WRONG_ACTION, GuardReason.REVOKED)
        assert [data["drill"] for _, data in await made.records(DRILLED)] == [report["drill"]]
        assert len(await made.records(CANARY_ISSUED)) == 1
        completed = await made.records(COMPLETED)
        assert [data["n"] for _, data in completed] in ([], [report["n"]])


async def test_a_guard_that_acknowledges_and_accepts_is_caught(fabric_server: FabricServer) -> None:
    """INVARIANT: a guard that accepts what was revoked is an alarm whatever it acknowledges, until a drill sees it refuse.

    Broken by believing the acknowledgement, which this very process sends.
    """
    async with fabric(fabric_server) as (made, guards):
        honest = guards[0]._drills._judge
        guards[0]._drills._judge = lambda *_: (True, None)  # type: ignore[method-assign]
        report = await drilled(fabric_server)
        assert not report["passed"]
        states = {p["point"].partition(".")[0]: p["state"] for p in report["points"]}
        assert states == {"i" + "c4" * 13: "accepted", SECOND: "refused"}

        async def alarms(count: int) -> list[dict[str, Any]]:
            async with asyncio.timeout(8):
                while len(found := await made.records(UNCONTAINED)) < count:  # noqa: ASYNC110 - what is stored is asked for
                    await asyncio.sleep(0.05)
            return [data for _, data in found]

        (alarm,) = await alarms(1)
        assert (alarm["why"], alarm["n"], alarm["tools"]) == ("accepted", report["n"], ["payments-processing"])
        await made.revoke("token", "another")  # which it acknowledges
        guards[0]._drills._judge = honest  # type: ignore[method-assign]
        assert (await drilled(fabric_server))["passed"]
        assert [data.get("ended") for data in await alarms(2)] == [None, "answered"]


async def test_a_drill_takes_a_revoker_of_the_trust_domain(fabric_server: FabricServer) -> None:
    async with fabric(fabric_server):
        with pytest.raises(Refused, match="not_authorized"):
            await drilled(fabric_server, CLERK)


async def test_without_points_or_without_a_broker_a_drill_says_so(fabric_server: FabricServer) -> None:
    await fabric_server.put_facts(person(DOC, ROOT))
    async with place(fabric_server) as made:
        await made.revoke("token", "x")  # somebody writes
        assert (await drilled(fabric_server))["points"] == []
        await made.guard()
        async with asyncio.timeout(10):
            while not (report := await drilled(fabric_server))["skipped"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)  # its first acknowledgement is on the way
    assert (report["passed"], report["skipped"]) == (False, ["payments-processing"])
