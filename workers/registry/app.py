"""Wires the registry: the only place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import Callable

from faststream import FastStream
from weft.spiffeid import SpiffeID

from config.settings import Settings
from schemas import approvals, keys
from schemas.approvals import Ask, Show, Spend
from schemas.cimd import Resolve, ResolveTool
from schemas.commands import ANSWER, APPLIED, FAILED, Apply, Approve, Waiting
from schemas.envelope import CloudEvent
from schemas.points import ATTACH_ANSWERED, Attach, Attached, Failure
from schemas.reasons import DenyReason
from streams import subjects
from streams.bus import Caller, event
from streams.operator import accounts
from workers.common import directget, rpc
from workers.common.buckets import Buckets
from workers.common.factwriter import FactWriter
from workers.common.fetching import Fetcher
from workers.common.recorder import Recorder, RecordUnavailable
from workers.common.runtime import Runtime
from workers.registry.approvals.desk import Approvals
from workers.registry.cimd.desk import Desk
from workers.registry.cimd.resolver import Resolver, Watcher, watched
from workers.registry.points import Announcer, attached, client_certificates, public_keys
from workers.registry.recording import SOURCE, record
from workers.registry.registry import Registry
from workers.registry.rules import Fabric

QUEUE = "registry"
ATTACH_PACE = 5.0, 200.0  # of one guard process, pages of many tools included: a small question with a large answer


class Service:
    """The worker, once connected and its facts loaded."""

    def __init__(self, runtime: Runtime) -> None:
        settings, nc = runtime.settings, runtime.nc
        self._settings = settings
        self._clock = runtime.clock
        self._table = runtime.facts.table
        self.recorder = Recorder(runtime.publisher)
        fabric = Fabric(
            settings.trust_domain,
            frozenset(settings.environment),
            settings.mode,
            issuer=settings.issuer,
            egress_id=settings.egress_id,
            egress_url=settings.egress,
            private_upstreams=settings.outbound_private.upstreams,
        )
        self._registry = Registry(runtime.facts, runtime.publisher, lambda subject: directget.last(nc, "FACTS", subject), fabric)
        self.approvals = Approvals(self._table, FactWriter(runtime.publisher, worker="registry"), self.recorder, runtime.clock)
        self.announcer = Announcer(self._table, nc.publish)
        runtime.facts.on_change(self.announcer.changed)
        resolver = Resolver(Fetcher(nc, source=SOURCE), self._table.client, settings.issuer)
        self.documents = Desk(self._table, resolver, self.recorder, settings.trust_domain)
        table = self._table
        self.watcher = Watcher(lambda: watched(resolver, table.clients(), table.tools()), self.documents.changed, runtime.clock)

    async def apply(self, who: Caller, asked: CloudEvent[Apply]) -> bytes:
        """The answer leaves when RECORD holds the command; without that it says so, and what became of the facts."""
        outcome = await self._registry.apply(who.name, asked.data)
        try:
            await record(self.recorder, who.name, asked.data, outcome, asked.id)
        except RecordUnavailable:
            revision = None if isinstance(outcome, Failure) else outcome.revision
            written = "nothing was written" if revision is None else f"written at revision {revision}"
            outcome = Failure(reason=DenyReason.RECORD_UNAVAILABLE, detail=f"RECORD did not acknowledge the command; {written}")
        return event(FAILED if isinstance(outcome, Failure) else APPLIED, outcome, source=SOURCE)

    async def attach(self, who: Caller, asked: CloudEvent[Attach]) -> bytes:
        """A guard's tools and keys."""
        _, workload = subjects.parse_connection_name(who.name)
        return event(ATTACH_ANSWERED, self._attached(asked.data, workload), source=SOURCE)

    def _attached(self, asked: Attach, workload: SpiffeID) -> Attached:
        settings, now = self._settings, self._clock.now()
        return attached(asked, workload, self._table, trust_domain=settings.trust_domain, issuer=settings.issuer, now=now)

    async def keys(self, _: Caller, asked: CloudEvent[keys.KeysAsked]) -> bytes:
        """The edge's JWKS, and the certificates that its TLS takes."""
        purpose, now = asked.data.purpose, self._clock.now()
        found = client_certificates(self._table) if purpose == "clients" else public_keys(self._table, purpose, now)
        return event(keys.ANSWERED, found, source=SOURCE)


def build(settings: Settings) -> FastStream:
    """The application."""
    runtime = Runtime("registry", settings, facts=True, canary=True)
    service: Service

    async def start() -> None:
        nonlocal service
        service = Service(runtime)
        runtime.spawn(service.announcer.run(), name="announcer")
        runtime.spawn(service.watcher.run(), name="documents")

    async def stop() -> None:
        await service.recorder.close()

    async def on_apply(who: Caller, asked: CloudEvent[Apply]) -> bytes:
        return await service.apply(who, asked)

    async def on_cimd(who: Caller, asked: CloudEvent[Resolve]) -> bytes:
        return await service.documents.resolve(who.name, asked.data)

    async def on_cimd_tool(who: Caller, asked: CloudEvent[ResolveTool]) -> bytes:
        return await service.documents.resolve_tool(who.name, asked.data)

    async def on_attach(who: Caller, asked: CloudEvent[Attach]) -> bytes:
        return await service.attach(who, asked)

    async def on_keys(who: Caller, asked: CloudEvent[keys.KeysAsked]) -> bytes:
        return await service.keys(who, asked)

    names = accounts(settings)
    rpc.serve(runtime, subjects.APPLY, Apply, on_apply, names, queue=QUEUE)
    rpc.serve(runtime, subjects.CIMD, Resolve, on_cimd, names, queue=QUEUE)
    rpc.serve(runtime, subjects.CIMD_TOOL, ResolveTool, on_cimd_tool, names, queue=QUEUE)
    rpc.serve(runtime, subjects.ATTACH, Attach, on_attach, names, queue=QUEUE, pace=Buckets(*ATTACH_PACE))
    rpc.serve(runtime, subjects.EDGE_KEYS, keys.KeysAsked, on_keys, names, queue=QUEUE)
    _serve_approvals(runtime, lambda: service.approvals)
    return runtime.app(start=start, stop=stop)


def _serve_approvals(runtime: Runtime, desk: Callable[[], Approvals]) -> None:
    """Between workers: asked for, shown and spent.  By people: answered, and listed."""

    async def on_ask(asked: CloudEvent[Ask]) -> bytes:
        return event(approvals.HELD, await desk().ask(asked.data), source=SOURCE)

    async def on_show(asked: CloudEvent[Show]) -> bytes:
        return event(approvals.HELD, await desk().show(asked.data), source=SOURCE)

    async def on_spend(asked: CloudEvent[Spend]) -> bytes:
        return event(approvals.HELD, await desk().spend(asked.data), source=SOURCE)

    async def on_approve(who: Caller, asked: CloudEvent[Approve]) -> bytes:
        return event(ANSWER, await desk().answer(who.name, asked.data), source=SOURCE)

    async def on_approvals(who: Caller, asked: CloudEvent[Waiting]) -> bytes:
        return event(ANSWER, desk().waiting(who.name, asked.data), source=SOURCE)

    names = accounts(runtime.settings)
    rpc.serve_within(runtime, subjects.APPROVAL_ASK, Ask, on_ask, queue=QUEUE)
    rpc.serve_within(runtime, subjects.APPROVAL_SHOW, Show, on_show, queue=QUEUE)
    rpc.serve_within(runtime, subjects.APPROVAL_SPEND, Spend, on_spend, queue=QUEUE)
    rpc.serve(runtime, subjects.APPROVE, Approve, on_approve, names, queue=QUEUE)
    rpc.serve(runtime, subjects.APPROVALS, Waiting, on_approvals, names, queue=QUEUE)
