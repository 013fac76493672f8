"""Every credential over every subject family, publish and subscribe, on the real server.

The expectation below is written by hand and shares nothing with `streams.access` but the names of credentials: a right that somebody adds
to the table fails here until somebody else writes it down a second time.  `{me}` is the connection's own name.
"""

from __future__ import annotations

import asyncio
import re

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError

from streams.access import CREDENTIALS, TEMPLATES
from tests.support.fabric import FabricServer, settled

AGENT, POINT, OPERATOR = "i1.88mph~com.agents.a", "i2.88mph~com.tools.t", "UOPERATOR"
OUTER = {"agent": AGENT, "point": POINT, "operator": OPERATOR}
VIEWS = (  # what every worker in FABRIC reads
    "$JS.API.DIRECT.GET.FACTS",
    "$JS.API.DIRECT.GET.FACTS.weft.fact.agent.x",
    "$JS.API.DIRECT.GET.REVOCATIONS",
    "$JS.API.DIRECT.GET.REVOCATIONS.weft.revocation.entry",
    "$JS.API.STREAM.INFO.FACTS",
    "$JS.API.STREAM.INFO.REVOCATIONS",
    "$JS.API.CONSUMER.CREATE.FACTS.view1.weft.fact.>",
    "$JS.API.CONSUMER.INFO.FACTS.view1",
    "$JS.API.CONSUMER.INFO.FACTS.revocation",
    "$JS.API.CONSUMER.DELETE.FACTS.view1",
)
OWN_READS = "$JS.API.DIRECT.GET.RECORD.weft.record.{}.x"
RECORD_READS = (
    "$JS.API.DIRECT.GET.RECORD.weft.record.x",
    "$JS.API.DIRECT.GET.RECORD.weft.record.admission.admitted.x",
    *map(OWN_READS.format, ("registry", "gateway", "broker", "signals", "revocation", "point", "audit", "admission")),
)
PUBLISH: dict[str, tuple[str, ...]] = {
    "topology": (
        "$JS.API.INFO",
        "$JS.API.STREAM.CREATE.NEW",
        "$JS.API.STREAM.UPDATE.FACTS",
        *(f"$JS.API.STREAM.INFO.{stream}" for stream in ("FACTS", "SIGNALS", "REVOCATIONS", "RECORD", "CLAIMS", "OUTGOING")),
        "$JS.API.CONSUMER.CREATE.FACTS.view1.weft.fact.>",
        "$JS.API.CONSUMER.CREATE.FACTS.revocation.weft.fact.posture.>",
        "$JS.API.CONSUMER.CREATE.RECORD.x.weft.record.>",
        "$JS.API.CONSUMER.INFO.FACTS.view1",
        "$JS.API.CONSUMER.INFO.FACTS.revocation",
        "$JS.API.CONSUMER.INFO.SIGNALS.signals",
        "$JS.API.CONSUMER.INFO.RECORD.audit",
        "$JS.API.CONSUMER.INFO.RECORD.tell-responses",
        "$JS.API.CONSUMER.INFO.OUTGOING.push-s1",
        "$JS.API.CONSUMER.CREATE.OUTGOING.push-s1.weft.outgoing.s1.>",
        "$JS.API.CONSUMER.CREATE.OUTGOING.x.weft.dead.>",
        "$JS.API.CONSUMER.INFO.RECORD.receipts",
        "$JS.API.CONSUMER.INFO.RECORD.return-receipts",
    ),
    "registry": (
        *VIEWS,
        *(
            f"weft.fact.{kind}.x"
            for kind in (
                "agent",
                "tool",
                "namespace",
                "relation",
                "policy",
                "response",
                "person",
                "transmitter",
                "issuer",
                "key",
                "client",
                "authserver",
                "detection",
            )
        ),
        "weft.fact.approval.x",
        "weft.push.tool.x",
        "weft.edge.fetch",
        "weft.record.registry.x",
        OWN_READS.format("registry"),
    ),
    "gateway": (
        *VIEWS,
        "weft.broker.mint",
        "weft.order.cut",
        "weft.order.approval.ask",
        "weft.order.approval.show",
        "weft.record.gateway.x",
        OWN_READS.format("gateway"),
    ),
    "broker": (
        *VIEWS,
        "weft.record.broker.x",
        "weft.fact.credential.x",
        "weft.broker.sealed",
        "weft.order.status",
        "weft.order.approval.spend",
        "weft.order.revoke",
        "weft.claimed.broker.x",
        "$JS.API.DIRECT.GET.RECORD",
        *RECORD_READS,
    ),
    "signals": (
        *VIEWS,
        "weft.signal.x",
        "weft.edge.fetch",
        "weft.fact.posture.x",
        "weft.fact.stream.x",
        "weft.outgoing.s1.event.j1",
        "weft.dead.s1.j1",
        "$JS.API.STREAM.PURGE.OUTGOING",
        "$JS.API.DIRECT.GET.OUTGOING",
        "$JS.API.DIRECT.GET.OUTGOING.weft.outgoing.x",
        "$JS.API.CONSUMER.CREATE.OUTGOING.push-s1.weft.outgoing.s1.>",
        *(f"$JS.API.CONSUMER.{verb}.OUTGOING.push-s1" for verb in ("INFO", "DELETE", "MSG.NEXT")),
        "$JS.ACK.OUTGOING.push-s1.1.1.1.1.0",
        "$JS.API.CONSUMER.MSG.NEXT.RECORD.tell-responses",
        "$JS.API.CONSUMER.MSG.NEXT.RECORD.tell-revocations",
        "$JS.API.CONSUMER.INFO.RECORD.tell-responses",
        "$JS.ACK.RECORD.tell-responses.1.1.1.1.0",
        "weft.fact.pending.x",
        "weft.order.revoke",
        "weft.order.cut",
        "weft.record.signals.x",
        OWN_READS.format("signals"),
        "$JS.API.CONSUMER.MSG.NEXT.SIGNALS.signals",
        "$JS.API.CONSUMER.INFO.SIGNALS.signals",
        "$JS.ACK.SIGNALS.signals.1.1.1.1.0",
        *("$JS.API.CONSUMER.MSG.NEXT.RECORD.return-receipts", "$JS.API.CONSUMER.INFO.RECORD.return-receipts"),
        "$JS.ACK.RECORD.return-receipts.1.1.1.1.0",
        "$JS.API.CONSUMER.MSG.NEXT.RECORD.receipts",
        "$JS.API.CONSUMER.INFO.RECORD.receipts",
        "$JS.ACK.RECORD.receipts.1.1.1.1.0",
        "$JS.API.DIRECT.GET.SIGNALS",
        "$JS.API.DIRECT.GET.SIGNALS.weft.signal.x",
        "$JS.API.DIRECT.GET.RECORD",
        *RECORD_READS,
        "$JS.API.STREAM.INFO.RECORD",
    ),
    "revocation": (
        *VIEWS,
        "weft.revocation.entry",
        "weft.revocation.beacon",
        "weft.claimed.x",
        "weft.claimed.broker.x",
        "weft.fact.point.x",
        "weft.broker.canary",
        "weft.push.drill.x",
        "weft.record.revocation.x",
        OWN_READS.format("revocation"),
        "weft.record.point.x",
        OWN_READS.format("point"),
        "weft.order.revoke",
        "$JS.API.CONSUMER.MSG.NEXT.FACTS.revocation",
        "$JS.ACK.FACTS.revocation.1.1.1.1.0",
        "$JS.API.DIRECT.GET.CLAIMS",
        "$JS.API.DIRECT.GET.CLAIMS.weft.claimed.x",
    ),
    "audit": (
        *VIEWS,
        "weft.record.audit.x",
        "$JS.API.DIRECT.GET.RECORD",
        *RECORD_READS,
        "$JS.API.STREAM.INFO.RECORD",
    ),
    "admission": (
        *VIEWS,
        "weft.record.admission.x",
        OWN_READS.format("admission"),
        "$JS.API.DIRECT.GET.RECORD.weft.record.admission.admitted.x",
    ),
    "issuer": VIEWS,
    "admission-auth": (),
    "admission-sys": ("$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.NABC.KICK"),
    "edge": (
        "weft.edge.keys",
        "weft.edge.ssf",
        "weft.edge.status",
        "weft.edge.oauth",
        "weft.set.edge",
        "weft.health.gateway",
        "weft.egress.health",
    ),
    "egress": (
        *(
            f"weft.{family}.i3.88mph~com.weft.egress"
            for family in ("attach", "claim", "use", "ack", "notice", "snapshot", "verdict", "release")
        ),
        "$JS.API.DIRECT.GET.REVOCATIONS",
    ),
    "agent": ("weft.invoke.{me}", "weft.tools.{me}", "weft.complete.{me}", "weft.approval.{me}"),
    "point": (
        *(f"weft.{family}.{{me}}" for family in ("attach", "claim", "use", "ack", "snapshot", "verdict", "notice", "set")),
        "$JS.API.DIRECT.GET.REVOCATIONS",
    ),
    "operator": (
        "weft.command.registry.apply.{me}",
        "weft.command.broker.vault.{me}",
        "weft.command.broker.keys.{me}",
        "weft.command.registry.approve.{me}",
        "weft.command.signals.revoke.{me}",
        "weft.command.signals.sweep.{me}",
        "weft.command.signals.resolve.{me}",
        "weft.command.revocation.drill.{me}",
        "weft.query.audit.{me}",
        "weft.set.{me}",
        "$JS.API.DIRECT.GET.REVOCATIONS",
    ),
}
SUBSCRIBE: dict[str, tuple[str, ...]] = {
    "topology": (),
    "registry": (
        "weft.command.registry.>",
        "weft.attach.>",
        "weft.edge.keys",
        "weft.order.approval.ask",
        "weft.order.approval.show",
        "weft.order.approval.spend",
    ),
    "gateway": ("weft.invoke.>", "weft.tools.>", "weft.approval.>"),
    "broker": (
        "weft.broker.mint",
        "weft.broker.canary",
        "weft.edge.oauth",
        "weft.broker.sealed",
        "weft.command.broker.>",
        "weft.release.>",
    ),
    "signals": ("weft.set.>", "weft.command.signals.>", "weft.notice.>", "weft.push.record.>", "weft.edge.ssf", "weft.push.outgoing.>"),
    "revocation": (
        *("weft.order.revoke", "weft.complete.>", "weft.claim.>", "weft.use.>", "weft.ack.>"),
        *("weft.order.status", "weft.edge.status", "weft.snapshot.>", "weft.verdict.>", "weft.command.revocation.drill.>"),
    ),
    "audit": ("weft.query.audit.>",),
    "admission": ("weft.order.cut",),
    "issuer": (),
    "admission-auth": ("$SYS.REQ.USER.AUTH",),
    "admission-sys": ("$SYS.ACCOUNT.<AGENTS>.CONNECT", "$SYS.ACCOUNT.<POINTS>.DISCONNECT", "$SYS.ACCOUNT.<OPERATORS>.CONNECT"),
    "edge": ("weft.edge.fetch",),
    "egress": ("weft.push.revocation.>", "weft.push.tool.>", "weft.push.drill.>", "weft.egress.health"),
    "agent": (),
    "point": ("weft.push.revocation.>", "weft.push.tool.>", "weft.push.drill.>"),
    "operator": ("weft.push.revocation.>",),
}
WORKERS = ("registry", "gateway", "broker", "signals", "revocation", "audit", "admission", "issuer")
NOBODY_PUBLISHES = (
    *(
        f"weft.{family}.someone.else"
        for family in ("invoke", "tools", "complete", "approval", "attach", "claim", "use", "ack", "notice", "set", "query.audit")
    ),
    *(
        "weft.command.registry.apply.other",
        "weft.command.registry.approve.other",
        "weft.release.i2.88mph~com.tools.t",
        "weft.attach.88mph~com.weft.egress",
        "weft.use.i3.88mph~com.weft.egress.x",
        "weft.invoke",
        "weft.revocation.other",
        "weft.push.fact.x",
        "weft.push.revocation.entry",
        "weft.push.record.x",
        "weft.push.outgoing.s1.event.j1",
        "weft.x",
    ),
    *("weft.record.x", "weft.record.other.x", "weft.fact.other.x", "_INBOX.x", f"_INBOX.{AGENT}.x", f"_INBOX.{POINT}.x", "_R_.x"),
    *(f"_INBOX_{worker}.x" for worker in ("topology", *WORKERS, "edge", "egress", "admission-sys")),
    *(
        "$KV.x.y",
        "$O.x",
        "$JS.FC.FACTS.x",
        "$JS.ACK.FACTS.other.1.1.1.1.0",
        "$JS.ACK.RECORD.x.1.1.1.1.0",
        "$JS.API.x",
        "$NRG.x",
        "$SRV.PING",
    ),
    *(f"$JS.API.STREAM.{verb}" for verb in ("NAMES", "LIST")),
    *(
        f"$JS.API.STREAM.{verb}.{stream}"
        for verb in ("DELETE", "PURGE", "MSG.DELETE", "MSG.GET", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN", "PEER.REMOVE")
        for stream in ("FACTS", "SIGNALS", "REVOCATIONS", "RECORD", "CLAIMS")
    ),
    *(f"$JS.API.CONSUMER.{verb}.FACTS" for verb in ("NAMES", "LIST", "CREATE")),
    *(f"$JS.API.CONSUMER.{verb}.FACTS.revocation" for verb in ("DELETE", "PAUSE", "RESET", "UNPIN", "LEADER.STEPDOWN", "DURABLE.CREATE")),
    *(f"$JS.API.CONSUMER.{verb}.RECORD.audit" for verb in ("DELETE", "PAUSE", "RESET")),
    *(f"$JS.API.CONSUMER.{verb}.RECORD.tell-responses" for verb in ("DELETE", "PAUSE", "RESET")),
    *(f"$JS.API.CONSUMER.{verb}.OUTGOING.push-s1" for verb in ("PAUSE", "RESET", "UNPIN")),
    *(f"$JS.API.STREAM.{verb}.OUTGOING" for verb in ("DELETE", "MSG.DELETE", "MSG.GET", "SNAPSHOT", "RESTORE")),
    "$JS.API.CONSUMER.MSG.NEXT.RECORD.other",
    *("$JS.API.CONSUMER.CREATE.FACTS.view1", "$JS.API.CONSUMER.MSG.NEXT.FACTS.view1", "$JS.API.DURABLE.CREATE.FACTS.x"),
    *("$SYS.REQ.USER.AUTH", "$SYS.REQ.USER.INFO", "$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.CLAIMS.UPDATE"),
    *("$SYS.REQ.ACCOUNT.x.CLAIMS.LOOKUP", "$SYS.REQ.SERVER.NABC.RELOAD", "$SYS._INBOX.x", "$SYS.ACCOUNT.x.CONNECT", "weft.health.other.x"),
)
NOBODY_SUBSCRIBES = (
    *(">", "*", "*.>", "weft.>", "weft.*.>", "_INBOX.>", "_INBOX.*", "_INBOX.someone.>", "_INBOX_x.>", "_R_.>", "_GR_.>"),
    *(
        "$JS.>",
        "$JS.API.>",
        "$JS.ACK.>",
        "$JS.EVENT.>",
        "$JS.EVENT.ADVISORY.>",
        "$KV.>",
        "$O.>",
        "$SYS.>",
        "$SYS.REQ.>",
        "$SYS.ACCOUNT.>",
        "$SRV.>",
    ),
    *(
        "weft.fact.>",
        "weft.record.>",
        "weft.revocation.>",
        "weft.signal.>",
        "weft.claimed.>",
        "weft.outgoing.>",
        "weft.dead.>",
        "weft.push.>",
        "weft.health.>",
        "weft.health.other",
    ),
    *("weft.order.>", "weft.command.>", "weft.query.>", "weft.edge.>", "weft.broker.>", "$SYS.ACCOUNT.*.CONNECT"),
)
_VIOLATION = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"')


def _publishes(name: str) -> set[str]:
    me = OUTER.get(name, name)
    return {subject.format(me=me) if "{me}" in subject else subject for subject in PUBLISH[name]}


def _subscribes(name: str, accounts: dict[str, str]) -> set[str]:
    own_inbox = () if name == "admission-auth" else (f"_INBOX.{OUTER[name]}.>",) if name in OUTER else (f"_INBOX_{name}.>",)
    views = ("weft.push.fact.>", "weft.push.revocation.>", f"weft.health.{name}") if name in WORKERS else ()
    return {re.sub(r"<(\w+)>", lambda found: accounts[found[1]], subject) for subject in (*SUBSCRIBE[name], *own_inbox, *views)}


class Prober:
    """Tries subjects over one connection; what the server refuses it says before the answer to the next ping."""

    def __init__(self) -> None:
        self.violations: set[tuple[str, str]] = set()

    async def heard(self, error: Exception) -> None:
        found = _VIOLATION.search(str(error))
        assert found, f"not a permission violation: {error!r}"
        self.violations.add((found[1], found[2]))

    async def publishes(self, nc: Client, subjects: set[str]) -> set[str]:
        for subject in subjects:
            await nc.publish(subject)
        await settled(nc)
        return {subject for subject in subjects if ("publish", subject.lower()) not in self.violations}

    async def subscribes(self, nc: Client, subjects: set[str]) -> set[str]:
        subscriptions = [await nc.subscribe(subject) for subject in subjects]
        await settled(nc)
        for subscription in subscriptions:
            await subscription.unsubscribe()
        return {subject for subject in subjects if ("subscription", subject.lower()) not in self.violations}


async def _connect(server: FabricServer, name: str, prober: Prober) -> Client:
    if name in OUTER:
        return await server.outer(name, OUTER[name], error_cb=prober.heard)
    return await server.worker(name, error_cb=prober.heard)


def test_the_walk_covers_every_credential() -> None:
    assert set(PUBLISH) == set(SUBSCRIBE) == set(CREDENTIALS) | set(TEMPLATES)


async def test_every_credential_over_every_subject(fabric_server: FabricServer) -> None:
    """INVARIANT: nobody may publish or subscribe to anything that the hand-written table does not name.

    A wider wildcard in `streams.access`, an empty list of permissions, or a server that stops enforcing one would break it.
    """
    accounts = fabric_server.accounts
    to_publish = {subject for name in PUBLISH for subject in _publishes(name)} | set(NOBODY_PUBLISHES)
    to_subscribe = {subject for name in SUBSCRIBE for subject in _subscribes(name, accounts)} | set(NOBODY_SUBSCRIBES)
    for name in PUBLISH:
        prober = Prober()
        nc = await _connect(fabric_server, name, prober)
        assert await prober.publishes(nc, to_publish) == _publishes(name), name
        assert await prober.subscribes(nc, to_subscribe) == _subscribes(name, accounts), name
        await nc.close()


@pytest.mark.parametrize("name", ["gateway", "broker"])
async def test_a_worker_answers_once(fabric_server: FabricServer, name: str) -> None:
    """A response is a right to one message, not to the asker's inbox."""
    prober, answered = Prober(), asyncio.Event()
    worker = await _connect(fabric_server, name, prober)
    agent = await fabric_server.outer("agent", AGENT)
    gateway = worker if name == "gateway" else await fabric_server.worker("gateway")

    async def answer(message: Msg) -> None:
        await message.respond(b"one")
        await message.respond(b"two")
        answered.set()

    await worker.subscribe("weft.invoke.>" if name == "gateway" else "weft.broker.mint", cb=answer)
    await settled(worker)
    asker, subject = (agent, f"weft.invoke.{AGENT}") if name == "gateway" else (gateway, "weft.broker.mint")
    assert (await asker.request(subject, timeout=2)).data == b"one"
    await answered.wait()
    await settled(worker)
    assert {kind for kind, _ in prober.violations} == {"publish"}


async def test_an_agent_cannot_answer(fabric_server: FabricServer) -> None:
    agent = await fabric_server.outer("agent", AGENT)
    with pytest.raises(NatsTimeoutError):
        await agent.request("weft.push.tool.x", timeout=0.1)
