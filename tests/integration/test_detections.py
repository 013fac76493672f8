"""Detections on a real server: calls on RECORD in, signals of the fabric's own out, answered by the policy like anyone else's."""

from __future__ import annotations

import base64
import json
import time
import uuid
from contextlib import AsyncExitStack

import pytest
from weft.errors import Refused

from schemas.facts import Detection
from schemas.record import ISSUED, NOT_AUTHENTICATED, NotAuthenticated
from schemas.signals import DETECTIONS, POINTS
from streams import subjects
from streams.bus import Publisher, event
from tests.integration.test_signals import AGENT, INSTANCE, Fabric, admit, eventually, stored, transmitter
from tests.support.fabric import FabricServer
from tests.support.guarded import ASKED, place
from tests.support.signed import claims
from tests.support.workers import running
from workers.signals.app import build

STEPS = [{"tools": ["vault-*"]}, {"tools": ["mail"], "actions": ["send"]}]
LEAK = Detection.model_validate_json(
    json.dumps({"name": "read-then-send", "when": {"of": "sequence", "steps": STEPS}, "by": "transaction", "level": "high"})
)


@pytest.fixture
async def fabric(fabric_server: FabricServer) -> Fabric:
    fabric = Fabric(fabric_server)
    await fabric.start(transmitter(DETECTIONS, {"keys": [fabric_server.keys["signals"].jwk]}), LEAK)
    await admit(fabric_server)
    return fabric


async def granted(fabric: Fabric, tool: str, action: str, txn: str, at: float | None = None) -> None:
    """As the broker records it, as far as a detection reads it."""
    act = {"sub": AGENT, "instance": INSTANCE}
    claims = {"act": act, "call": {"tool": tool, "actions": [action]}, "txn": txn, "jti": uuid.uuid4().hex}
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at or time.time()))
    body = json.dumps({"specversion": "1.0", "type": ISSUED, "time": when, "data": {"claims": claims}}).encode()
    nc = await fabric.server.worker("broker")
    subject = subjects.RECORD.at("broker", "issued", "88mph~com.agents.advisor")
    await Publisher(nc).publish("RECORD", subject, body, msg_id=f"broker:{uuid.uuid4().hex}")


async def signals_of(fabric: Fabric) -> int:
    nc = await fabric.server.worker("signals")
    return len(await stored(nc, "SIGNALS", "weft.signal.>"))


async def test_calls_in_an_order_that_a_detection_names_are_answered_by_the_policy(fabric: Fabric) -> None:
    async with running(build, fabric.server.settings):
        await granted(fabric, "vault-db", "read", "x1")
        await granted(fabric, "mail", "send", "x2")
        await granted(fabric, "mail", "send", "x1")
        (responded,) = await fabric.responded()
        posture = await fabric.posture()
    assert (responded["iss"], responded["confidence"], responded["response"]) == (DETECTIONS, "high", "quarantine")
    assert posture is not None
    assert posture["level"] == "quarantined"
    assert await signals_of(fabric) == 1


async def test_copies_and_restarts_say_it_once(fabric: Fabric) -> None:
    """INVARIANT: what a detection finds is one signal, however many copies see it and however often RECORD is read again.

    A random `jti`, or memory of what was said that dies with the process, would break it.
    """
    await granted(fabric, "vault-db", "read", "x1")
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(running(build, fabric.server.settings))
        await granted(fabric, "mail", "send", "x1")
        await fabric.responded()
    async with running(build, fabric.server.settings):
        await granted(fabric, "vault-db", "read", "x3")
        await granted(fabric, "mail", "send", "x3")
        await fabric.responded(2)
    assert await signals_of(fabric) == 2


async def test_a_detection_counts_from_the_moment_its_fact_is_written_and_for_what_was_before(fabric: Fabric) -> None:
    async with running(build, fabric.server.settings):
        fan = {"name": "fan", "when": {"of": "fan_out", "more_than": 2}, "within_s": 300, "level": "medium"}
        for tool in ("a", "b", "c"):
            await granted(fabric, tool, "read", "x1")
        await fabric.server.put_facts(Detection.model_validate_json(json.dumps(fan)))
        (responded,) = await fabric.responded()
    assert (responded["confidence"], responded["response"]) == ("medium", "narrow")


async def test_without_a_voice_it_is_recorded_and_nothing_is_done(fabric: Fabric) -> None:
    quiet = transmitter(DETECTIONS, {"keys": [fabric.server.keys["signals"].jwk]}).model_copy(update={"state": "suspended"})
    await fabric.server.put_facts(quiet)
    async with running(build, fabric.server.settings):
        await granted(fabric, "vault-db", "read", "x1")
        await granted(fabric, "mail", "send", "x1")

        async def recorded() -> list[dict[str, object]]:
            return [said for said in await fabric.records("org.weft.record.signalled.v1") if said["iss"] == DETECTIONS]

        (said,) = await eventually(recorded)
    assert said["refused"] == "transmitter_unknown"
    assert "read-then-send" in said["detail"]
    assert await fabric.posture() is None


async def test_a_guard_signals_by_itself_what_no_honest_caller_does(fabric_server: FabricServer) -> None:
    """A token tried at a tool it was not minted for: refused, reported, and a signal about who presented it."""
    async with place(fabric_server) as here:
        await fabric_server.put_facts(transmitter(POINTS, {"keys": [fabric_server.keys["signals"].jwk]}))
        nc = await fabric_server.worker("signals")
        async with running(build, fabric_server.settings):
            guard = await here.guard()
            token = here.token(call={"tool": "web-search"})
            for _ in range(3):
                with pytest.raises(Refused):
                    await guard.check(token, ASKED)

            async def said() -> list[dict[str, object]]:
                return await stored(nc, "SIGNALS", "weft.signal.>")

            (delivered,) = await eventually(said)
            with pytest.raises(Refused):
                await guard.check(here.token(exp=int(here.clock()) - 60, iat=int(here.clock()) - 90), ASKED)
            await guard.stop()  # places what it still has to say
            assert len(await said()) == 1, "an expired token is no sign of anything"
    told = json.loads(base64.urlsafe_b64decode(str(delivered["data"]["set"]).split(".")[1] + "=="))  # type: ignore[index]
    assert (told["iss"], told["sub_id"]["instance"]["id"]) == (POINTS, claims()["act"]["instance"])
    (event,) = told["events"].values()
    assert (event["current_level"], event["risk_reason"]) == ("MEDIUM", "payments-processing: refused: wrong_tool")


async def test_failed_client_authentications_are_heard_of(fabric_server: FabricServer) -> None:
    """What the broker counted is a signal of level low about the workload that the client is: it is recorded, and moves nothing."""
    when = {"of": "client_failures", "at_least": 12}
    guesses = Detection.model_validate_json(json.dumps({"name": "guesses", "when": when, "within_s": 60, "level": "low"}))
    fabric = Fabric(fabric_server)
    await fabric.start(transmitter(DETECTIONS, {"keys": [fabric_server.keys["signals"].jwk]}), guesses)
    await admit(fabric_server)
    counted = NotAuthenticated(client="front", workload=AGENT, instance=INSTANCE, failures=12, since=1, until=2)
    async with running(build, fabric.server.settings):
        nc = await fabric.server.worker("broker")
        body = event(NOT_AUTHENTICATED, counted, source="/weft/broker")
        subject = subjects.RECORD.at("broker", "notauthenticated", "88mph~com.agents.advisor")
        await Publisher(nc).publish("RECORD", subject, body, msg_id=f"broker:{uuid.uuid4().hex}")
        (responded,) = await fabric.responded()
        posture = await fabric.posture()
    assert (responded["iss"], responded["confidence"], responded["response"]) == (DETECTIONS, "low", "record")
    assert posture is None
