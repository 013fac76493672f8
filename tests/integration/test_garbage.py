"""Whatever bytes arrive on whatever subject a worker hears, from whoever may send there: an answer with a type, and the next one served."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from importlib import import_module

import pytest
from nats.errors import TimeoutError as Late
from weft.nkey import KeyPair

from schemas import health
from schemas.facts import Grant, Person
from schemas.invocation import ToolsAsked
from streams.access import CREDENTIALS
from streams.bus import event, parse
from streams.subjects import HEALTH
from tests.support.fabric import settled
from tests.support.workers import running

AGENT = "i" + "b2" * 13 + ".88mph~com.agents.advisor"
POINT = "i" + "c4" * 13 + ".88mph~com.tools.payments"
PERSON = KeyPair("U")
NAMES = {"agent": AGENT, "point": POINT, "operator": PERSON.public}
WORKERS = ("revocation", "registry", "signals", "audit", "broker", "gateway")
ASKED = (  # who sends it, and where
    *(("agent", f"weft.{family}.{AGENT}") for family in ("invoke", "tools", "complete", "approval")),
    *(("point", f"weft.{family}.{POINT}") for family in ("attach", "claim", "use", "notice", "set", "verdict", "snapshot")),
    *(("operator", f"weft.{what}.{PERSON.public}") for what in ("command.registry.apply", "query.audit", "set")),
    *(("operator", f"weft.command.signals.{what}.{PERSON.public}") for what in ("revoke", "lift", "sweep", "streams")),
    *(("operator", f"weft.command.{what}.{PERSON.public}") for what in ("revocation.drill", "broker.keys", "broker.vault")),
    *(("edge", f"weft.edge.{what}") for what in ("keys", "oauth", "ssf", "status")),
    ("edge", "weft.edge.ssf"),
    *(("edge", f"weft.health.{worker}") for worker in WORKERS),
    ("edge", "weft.set.edge"),
    ("gateway", "weft.broker.mint"),
    ("signals", "weft.order.revoke"),
    *(("gateway", f"weft.order.approval.{what}") for what in ("ask", "show")),
    *(("broker", subject) for subject in ("weft.order.approval.spend", "weft.order.status")),
    ("revocation", "weft.broker.canary"),
)
ASKS_NOTHING = ("weft.edge.keys", "weft.health.", "weft.snapshot.")  # whatever comes is the question
TOLD = (("point", f"weft.ack.{POINT}"), ("broker", "weft.broker.sealed"))  # nobody is owed an answer: a broker that lacks it is silent
ELSEWHERE = {  # below; of the issuer no more than health; and what the egress alone asks, whose credential is made where there is one
    *("weft.order.cut", "weft.health.admission", "weft.health.issuer"),
    "weft.release.>",
}
REASONS = {"reason", "code", "err"}  # a failure's, an agent's, RFC 8935's
GOOD = event("org.weft.tools.asked.v1", ToolsAsked(), source="/test")
GARBAGE = {
    "nothing": b"",
    "bytes": b"\xff\xfe\x00" * 50,
    "an open brace": b"{",
    "a list": b"[]",
    "null": b"null",
    "a number": b"1e999",
    "truncated": GOOD[: len(GOOD) * 2 // 3],
    "of a type nobody sends": event("org.weft.nonsense.v1", ToolsAsked(), source="/test"),
    "data of another type": json.dumps({**json.loads(GOOD), "data": {"x": 1}}).encode(),
    "a member twice": GOOD[:-1] + b',"type":"org.weft.query.v1"}',
    "deep": b"[" * 20_000 + b"]" * 20_000,
    "large": b'{"specversion":"1.0","x":"' + b"x" * 60_000 + b'"}',
    "a lone surrogate": GOOD.replace(b"/test", b"\\ud800"),
}


def refuses(answer: dict) -> bool:
    """An event with a type that says why not, and that is no excuse for a bug."""
    data = answer["data"]
    if isinstance(data.get("status"), int):  # what the edge hands on as HTTP
        return data["status"] >= 400
    told = data["answers"] if answer["type"].startswith("org.weft.mint.") else [data]
    reasons = [one.get("refused") or next((one[name] for name in REASONS & one.keys()), None) for one in told]
    return bool(reasons) and all(reason not in (None, "internal") for reason in reasons)


def matches(pattern: str, subject: str) -> bool:
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted, given = wanted[:-1], given[: len(wanted) - 1]
    return len(wanted) == len(given) and all(one in ("*", other) for one, other in zip(wanted, given, strict=True))


def test_the_walk_covers_every_subject_that_a_worker_hears():
    heard = {
        pattern
        for name in (*WORKERS, "admission", "issuer")
        for pattern in CREDENTIALS[name].permissions.subscribe
        if not pattern.startswith(("_INBOX", "weft.push."))
    }
    covered = [subject for _, subject in (*ASKED, *TOLD)]
    assert {pattern for pattern in heard - ELSEWHERE if not any(matches(pattern, subject) for subject in covered)} == set()


@pytest.mark.timeout(60)
async def test_garbage_on_every_subject(fabric_server):
    """INVARIANT: no bytes, on any subject, are met with silence, an internal error, or the end of a worker.

    An exception in a handler (FastStream answers it with silence), a parser that dies of depth, or a subscription that ends would break it.
    """
    await fabric_server.put_facts(
        Person(nkey=PERSON.public, name="doc", roles=(Grant(role="auditor", namespace="spiffe://88mph.com"),)),
    )
    async with AsyncExitStack() as stack:
        apps = [
            await stack.enter_async_context(running(import_module(f"workers.{name}.app").build, fabric_server.settings)) for name in WORKERS
        ]
        clients = {kind: await fabric_server.outer(kind, NAMES[kind], PERSON if kind == "operator" else None) for kind in NAMES}
        clients |= {name: await fabric_server.worker(name) for name in ("edge", "gateway", "signals", "broker", "revocation")}
        await settled(clients["edge"])
        async with asyncio.timeout(10):
            await asyncio.gather(*(app.runtime.wait_current() for app in apps))
        silent, untyped = [], []
        for sender, subject in ASKED:
            for what, body in GARBAGE.items():
                try:
                    answer = json.loads((await clients[sender].request(subject, body, timeout=5)).data)
                except Late:
                    silent.append((subject, what))
                    continue
                if not refuses(answer) and not (subject.startswith(ASKS_NOTHING) and answer["type"].endswith(".answered.v1")):
                    untyped.append((subject, what, answer))
        assert (silent, untyped) == ([], [])
        for sender, subject in TOLD:
            for body in GARBAGE.values():
                await clients[sender].publish(subject, body)
            await settled(clients[sender])
        assert not [app.runtime.worker for app in apps if app.ended.is_set()]
        for worker in WORKERS:
            question = event(health.ASKED, health.Asked(), source="/test")
            assert parse(health.Health, (await clients["edge"].request(HEALTH.at(worker), question, timeout=5)).data).data.ready, worker


async def test_garbage_on_the_order_to_cut_stops_nobody(fabric_server):
    """Admission alone hears it; nobody waits for an answer."""
    admission, revocation = (import_module(f"workers.{name}.app").build for name in ("admission", "revocation"))
    async with running(revocation, fabric_server.settings), running(admission, fabric_server.settings) as app:
        await asyncio.wait_for(app.runtime.wait_current(), 10)
        gateway, edge = await fabric_server.worker("gateway"), await fabric_server.worker("edge")
        for body in GARBAGE.values():
            await gateway.publish("weft.order.cut", body)
            answer = await edge.request("weft.health.admission", body, timeout=5)
            assert json.loads(answer.data)["type"] == health.ANSWERED
        await settled(gateway)
        question = event(health.ASKED, health.Asked(), source="/test")
        assert parse(health.Health, (await edge.request("weft.health.admission", question, timeout=5)).data).data.ready
        assert not app.ended.is_set()
