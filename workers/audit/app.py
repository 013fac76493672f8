"""Wires the worker: the only place that reads settings and builds adapters."""

from __future__ import annotations

from faststream import FastStream

from config.settings import Settings
from schemas.commands import Query
from schemas.envelope import CloudEvent
from schemas.reasons import DenyReason
from streams.bus import Caller
from streams.operator import accounts
from streams.subjects import QUERY
from workers.audit.answers import Answers
from workers.audit.follower import Follower
from workers.audit.index import Index
from workers.audit.room import Room
from workers.common.rpc import Refused, serve
from workers.common.runtime import Runtime


class Audit:
    """The worker, once connected."""

    def __init__(self, runtime: Runtime, index: Index, checkpoint: int) -> None:
        self.index = index
        self.follower = Follower(runtime.nc, index, checkpoint)
        self.room = Room(runtime.nc)
        revocations = runtime.revocations.view
        self.answers = Answers(
            runtime.nc,
            index=index,
            follower=self.follower,
            facts=runtime.facts.table,
            revocations=revocations,
            settings=runtime.settings,
            clock=runtime.clock,
            room=self.room,
        )


def build(settings: Settings) -> FastStream:
    """The application.  Questions are answered while the index catches up; what it does not hold yet is `view_behind`."""
    runtime = Runtime("audit", settings, facts=True, revocations=True)
    audit: Audit | None = None

    async def start() -> None:
        nonlocal audit
        index = await Index.open(settings.state / "audit" / "index.db", settings.trust_domain)
        audit = Audit(runtime, index, await index.checkpoint())
        runtime.on_reconnected(audit.follower.reconnected)
        runtime.spawn(audit.follower.run(), name="index")
        runtime.spawn(audit.follower.start(), name="record")
        runtime.spawn(audit.room.run(), name="room")

    async def stop() -> None:
        if audit is not None:
            await audit.follower.stop()
            await audit.index.close()

    async def on_query(caller: Caller, asked: CloudEvent[Query]) -> bytes:
        if audit is None:
            raise Refused(DenyReason.VIEW_BEHIND, "starting")
        return await audit.answers.answer(caller, asked)

    serve(runtime, QUERY, Query, on_query, accounts(settings), queue="audit")
    return runtime.app(start=start, stop=stop)
