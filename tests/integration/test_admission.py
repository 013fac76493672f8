"""Admission on the real server: who gets in, who does not, who is cut."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import nats.errors
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from nats.aio.client import Client
from weft.digest import b64u, target_digest
from weft.nkey import KeyPair

from schemas.facts import Person, Posture
from streams.subjects import INVOKE
from tests.support.actors import PERSON, TOOL_ID, agent, tool
from tests.support.admitting import Admitting, connect, svid
from tests.support.fabric import FabricServer
from tests.support.facts import body
from tests.support.identities import ADVISOR, INSTANCE, svid_claims
from workers.admission import connections
from workers.admission.decide import Admit

NAME = f"{INSTANCE}.88mph~com.agents.advisor"


@pytest.fixture
async def admitting(fabric_server: FabricServer) -> AsyncIterator[Admitting]:
    ack = await fabric_server.put_facts(body(agent()), body(tool()), Person(nkey=PERSON.public, name="doc", roles=()))
    one = await Admitting(fabric_server).start()
    await one.seen(ack.seq)
    yield one
    await one.stop()


async def agent_connects(fabric: FabricServer, key: KeyPair | None = None, **changes: Any) -> Client:
    key = key or KeyPair("U")
    instance = changes.get("weft_instance", INSTANCE)
    return await connect(fabric, f"agent {svid(fabric, key, **changes)}", key, f"{instance}.88mph~com.agents.advisor")


async def refused(coro: Any) -> bool:
    try:
        await coro
    except nats.errors.Error as error:
        return "authorization violation" in str(error).lower()
    return False


async def records(fabric: FabricServer, what: str) -> list[dict[str, Any]]:
    """The `data` of every record of admission of this type."""
    nc = await fabric.worker("audit")
    found: list[dict[str, Any]] = []
    sequence = 1
    while True:
        question = json.dumps({"seq": sequence, "next_by_subj": f"weft.record.admission.{what}.>"}).encode()
        answer = await nc.request("$JS.API.DIRECT.GET.RECORD", question, timeout=2)
        if (answer.headers or {}).get("Status") == "404":
            return found
        found.append(json.loads(answer.data)["data"])
        sequence = int(answer.headers["Nats-Sequence"]) + 1


async def reasons(fabric: FabricServer) -> list[str]:
    return [record["reason"] for record in await records(fabric, "notadmitted")]


async def test_an_agent_is_admitted_under_its_attested_name(fabric_server: FabricServer, admitting: Admitting) -> None:
    gateway = await fabric_server.worker("gateway")
    seen: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def on_invoke(message: Any) -> None:
        seen.put_nowait(json.loads(message.headers["Nats-Request-Info"]))
        await message.respond(b"answer")

    await gateway.subscribe(INVOKE.filter, cb=on_invoke)
    await gateway.flush()
    errors: asyncio.Queue[str] = asyncio.Queue()
    key = KeyPair("U")
    nc = await connect(fabric_server, f"agent {svid(fabric_server, key)}", key, NAME, errors=errors)
    assert (await nc.request(INVOKE.at(NAME), b"{}", timeout=2)).data == b"answer"
    info = await seen.get()
    assert (info["user"], info["acc"]) == (NAME, fabric_server.accounts["AGENTS"])
    await nc.publish(INVOKE.at(f"i{'b' * 26}.88mph~com.agents.advisor"), b"{}")
    await nc.publish("weft.broker.mint", b"{}")
    await nc.subscribe("_INBOX.>")
    for _ in range(3):
        assert "permissions violation" in await asyncio.wait_for(errors.get(), 2)
    (record,) = await records(fabric_server, "admitted")
    assert (record["name"], record["kind"], record["instance"]) == (NAME, "agent", INSTANCE)
    assert not any(part in json.dumps(record) for part in svid(fabric_server, key).split(".")[:2])


async def test_a_point_and_an_operator(fabric_server: FabricServer, admitting: Admitting) -> None:
    key = KeyPair("U")
    point = await connect(fabric_server, f"point {svid(fabric_server, key, sub=TOOL_ID)}", key)
    operator = await connect(fabric_server, "operator", PERSON)
    assert point.is_connected
    assert operator.is_connected
    found = {(one.account, one.name) for one in await admitting.connections.everyone(patient=True)}
    assert found == {("POINTS", f"{INSTANCE}.88mph~com.tools.payments"), ("OPERATORS", PERSON.public)}


async def test_who_is_refused(fabric_server: FabricServer, admitting: Admitting) -> None:
    """INVARIANT: a connection comes in only with a fresh SVID of this fabric, beside the key that the SVID names.

    Each row leaves out one check: the binding, the nonce, a time, the issuer, the trust domain, the algorithm, the key id, the form.
    """
    fabric, key, now = fabric_server, KeyPair("U"), int(time.time())
    copied = svid(fabric, KeyPair("U"))
    stranger = ec.generate_private_key(ec.SECP256R1())
    kid = fabric.keys["svid"].kid
    none = f"{b64u(json.dumps({'alg': 'none', 'kid': kid}).encode())}.{b64u(json.dumps(svid_claims(key.public, now=now)).encode())}."
    attempts = {
        "svid_not_bound": [(f"agent {copied}", key), (f"agent {svid(fabric, key, aud='https://payments')}", key)],
        "signature_invalid": [(f"agent {svid(fabric, key)}", None), ("operator", None)],
        "svid_expired": [(f"agent {svid(fabric, key, exp=now - 1)}", key)],
        "svid_invalid": [
            (f"agent {svid(fabric, key, nbf=now + 60)}", key),
            (f"agent {svid(fabric, key, signer=stranger)}", key),
            (f"agent {svid(fabric, key, sub='spiffe://elsewhere/agents/advisor')}", key),
            (f"agent {svid(fabric, key, header={'kid': 'unknown'})}", key),
            (f"agent {none}", key),
            (f"agent {duplicated(fabric, key)}", key),
            ("agent garbage", key),
            ("agent", key),
        ],
        "agent_unknown": [(f"agent {svid(fabric, key, sub=ADVISOR + '/stranger')}", key), (f"agent {svid(fabric, key, sub=TOOL_ID)}", key)],
        "tool_unknown": [(f"point {svid(fabric, key)}", key)],
        "not_authorized": [("operator", key)],
        "malformed": [("", key), ("gateway x", key), (svid(fabric, key), key)],
    }
    for reason, rows in attempts.items():
        before = len(await reasons(fabric))
        for token, with_key in rows:
            assert await refused(connect(fabric, token, with_key)), (reason, token[:12])
        assert (await reasons(fabric))[before:] == [reason] * len(rows)
        await asyncio.sleep(0.3)  # below the rate at which refusals are recorded one by one
    assert await records(fabric, "admitted") == []


def duplicated(fabric: FabricServer, key: KeyPair) -> str:
    """An SVID with two subjects, properly signed."""
    from jwt.algorithms import ECAlgorithm

    own = fabric.keys["svid"]
    claims = json.dumps(svid_claims(key.public, now=time.time(), sub=ADVISOR + "/stranger"))[:-1] + f',"sub":"{ADVISOR}"}}'
    text = f"{b64u(json.dumps({'alg': 'ES256', 'kid': own.kid}).encode())}.{b64u(claims.encode())}"
    return f"{text}.{b64u(ECAlgorithm(ECAlgorithm.SHA256).sign(text.encode(), own.private))}"  # type: ignore[arg-type]


def quarantine(scope: Any, value: str) -> Posture:
    return Posture(scope=scope, target=target_digest(scope, value), level="quarantined", causes=(), revoke=True)


async def test_a_quarantined_instance_is_cut_and_stays_out(fabric_server: FabricServer, admitting: Admitting) -> None:
    """INVARIANT: a quarantined instance is disconnected at once, and refused when it returns with a new key and a new SVID; its
    siblings keep working.

    Cutting without looking at the posture again at admission would let it in a moment later; taking the instance from the connection's
    key would let it in under another name.
    """
    other = "i" + "b" * 26
    mine, sibling = await agent_connects(fabric_server), await agent_connects(fabric_server, weft_instance=other)
    gone = asyncio.Event()
    mine._closed_cb = lambda: _set(gone)
    start = time.perf_counter()
    ack = await fabric_server.put_facts(quarantine("instance", INSTANCE))
    await asyncio.wait_for(gone.wait(), 2)
    print(f"posture written to connection closed: {(time.perf_counter() - start) * 1e3:.1f} ms")
    await admitting.seen(ack.seq)
    assert await refused(agent_connects(fabric_server, KeyPair("U"), jti="renewed"))
    assert (await reasons(fabric_server))[-1] == "quarantined"
    await sibling.flush(timeout=2)
    again = await agent_connects(fabric_server, weft_instance=other)
    assert again.is_connected
    (record,) = await records(fabric_server, "cut")
    assert (record["name"], record["connections"]) == (NAME, 1)


async def _set(event: asyncio.Event) -> None:
    event.set()


@pytest.mark.parametrize(("scope", "value"), [("agent", ADVISOR), ("namespace", "spiffe://88mph.com/agents")])
async def test_wider_quarantines(fabric_server: FabricServer, admitting: Admitting, scope: str, value: str) -> None:
    key = KeyPair("U")
    agents = [await agent_connects(fabric_server, weft_instance="i" + letter * 26) for letter in "ab"]
    point = await connect(fabric_server, f"point {svid(fabric_server, key, sub=TOOL_ID)}", key)
    gone = [asyncio.Event() for _ in agents]
    for nc, event in zip(agents, gone, strict=True):
        nc._closed_cb = lambda event=event: _set(event)
    await fabric_server.put_facts(quarantine(scope, value))
    await asyncio.wait_for(asyncio.gather(*(event.wait() for event in gone)), 2)
    await point.flush(timeout=2)
    assert await refused(agent_connects(fabric_server, weft_instance="i" + "c" * 26))


async def test_suspending_an_agent_cuts_it(fabric_server: FabricServer, admitting: Admitting) -> None:
    nc = await agent_connects(fabric_server)
    gone = asyncio.Event()
    nc._closed_cb = lambda: _set(gone)
    await fabric_server.put_facts(body(agent(state="suspended")))
    await asyncio.wait_for(gone.wait(), 2)
    assert await refused(agent_connects(fabric_server))


async def test_a_quarantine_from_before_is_found_at_the_start(fabric_server: FabricServer, admitting: Admitting) -> None:
    """INVARIANT: an agent that was quarantined while no admission worker ran is cut when one starts.

    Acting on changes alone would leave it connected until its SVID ends.
    """
    nc = await agent_connects(fabric_server)
    gone = asyncio.Event()
    nc._closed_cb = lambda: _set(gone)
    await admitting.stop()
    await fabric_server.put_facts(quarantine("instance", INSTANCE))
    await nc.flush(timeout=2)
    assert nc.is_connected
    again = await Admitting(fabric_server, "two").start()
    await asyncio.wait_for(gone.wait(), 2)
    await again.stop()


async def test_an_order_to_cut_lets_it_come_back(fabric_server: FabricServer, admitting: Admitting) -> None:
    nc = await agent_connects(fabric_server)
    gone = asyncio.Event()
    nc._closed_cb = lambda: _set(gone)
    admitting.cutter.order(NAME, "limits")
    await asyncio.wait_for(gone.wait(), 2)
    assert (await agent_connects(fabric_server)).is_connected


async def test_a_connection_ends_with_its_svid(fabric_server: FabricServer, admitting: Admitting) -> None:
    now = int(time.time())
    nc = await agent_connects(fabric_server, exp=now + 2)
    gone = asyncio.Event()
    nc._closed_cb = lambda: _set(gone)
    await asyncio.wait_for(gone.wait(), 5)
    assert time.time() >= now + 2


async def test_stale_views_admit_nobody(fabric_server: FabricServer, admitting: Admitting) -> None:
    admitting.fresh = False
    assert await refused(agent_connects(fabric_server))
    assert await reasons(fabric_server) == ["view_stale"]
    admitting.fresh = True
    assert (await agent_connects(fabric_server)).is_connected


async def test_nobody_comes_in_while_admission_is_away(fabric_server: FabricServer, admitting: Admitting) -> None:
    connected = await agent_connects(fabric_server)
    await admitting.stop()
    start = time.monotonic()
    assert await refused(agent_connects(fabric_server))
    assert time.monotonic() - start < 4
    await connected.flush(timeout=2)  # who is in stays in
    again = await Admitting(fabric_server, "two").start()
    assert (await agent_connects(fabric_server)).is_connected
    await again.stop()


async def test_nobody_comes_in_unrecorded(fabric_server: FabricServer, admitting: Admitting) -> None:
    """INVARIANT: no connection is admitted whose admission RECORD did not acknowledge.

    Answering first and recording afterwards would admit while RECORD is full, and nobody could tell who was there.
    """
    assert (await agent_connects(fabric_server)).is_connected
    top = await fabric_server.worker("topology")
    info = json.loads((await top.request("$JS.API.STREAM.INFO.RECORD", b"", timeout=2)).data)
    full = {**info["config"], "max_msgs": info["state"]["messages"], "discard": "new"}
    changed = json.loads((await top.request("$JS.API.STREAM.UPDATE.RECORD", json.dumps(full).encode(), timeout=2)).data)
    assert "error" not in changed, changed
    assert await refused(agent_connects(fabric_server))


async def test_two_workers_share_and_one_is_enough(fabric_server: FabricServer, admitting: Admitting) -> None:
    second = await Admitting(fabric_server, "two").start()
    instances = ["i" + letter * 26 for letter in "abcdefghijklmnopqrst"]
    connected = await asyncio.gather(*(agent_connects(fabric_server, weft_instance=instance) for instance in instances))
    assert admitting.answered + second.answered == len(instances)
    assert min(admitting.answered, second.answered) > 0
    gone = asyncio.Event()
    connected[0]._closed_cb = lambda: _set(gone)
    await fabric_server.put_facts(quarantine("instance", instances[0]))
    await asyncio.wait_for(gone.wait(), 2)
    assert await refused(agent_connects(fabric_server, weft_instance=instances[0]))
    await second.stop()
    assert (await agent_connects(fabric_server)).is_connected
    assert sum(record["connections"] for record in await records(fabric_server, "cut")) == 1


async def test_garbage_on_the_callouts_subject_is_not_answered(fabric_server: FabricServer, admitting: Admitting) -> None:
    """Nobody in FABRIC or outside reaches it; what arrives nevertheless costs no answer and no worker."""
    gateway = await fabric_server.worker("gateway")
    await gateway.publish("$SYS.REQ.USER.AUTH", b"garbage")
    await gateway.flush()
    assert (await agent_connects(fabric_server)).is_connected
    assert admitting.answered == 1


async def test_everyone_is_listed_page_by_page(fabric_server: FabricServer, admitting: Admitting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PAGE", 2)
    instances = ["i" + letter * 26 for letter in "abcde"]
    for instance in instances:
        await agent_connects(fabric_server, weft_instance=instance)
    await connect(fabric_server, "operator", PERSON)
    for patient in (True, False):
        found = await admitting.connections.everyone(patient=patient)
        assert sorted(one.name for one in found if one.account == "AGENTS") == [f"{one}.88mph~com.agents.advisor" for one in instances]
        assert len({(one.server_id, one.cid) for one in found}) == 6
    gone = await admitting.connections.kick(found[0])
    assert gone
    assert not await admitting.connections.kick(found[0])


async def test_a_quarantine_while_the_admission_is_being_recorded(fabric_server: FabricServer, admitting: Admitting) -> None:
    """INVARIANT: a quarantine that arrives while an admission is being recorded stops it.

    Deciding once, before the wait, would admit an instance that a sweep has just looked for in vain.
    """
    record = admitting.record.admitted

    async def meanwhile(connection: str, admit: Admit) -> None:
        await record(connection, admit)
        ack = await fabric_server.put_facts(quarantine("instance", INSTANCE))
        await admitting.seen(ack.seq)

    admitting.record.admitted = meanwhile  # type: ignore[method-assign]
    assert await refused(agent_connects(fabric_server))
    assert (await reasons(fabric_server))[-1] == "quarantined"
