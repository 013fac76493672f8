"""The gateway, put together."""

from __future__ import annotations

from faststream import FastStream

from config.settings import Settings
from schemas.invocation import ApprovalAsked, InvocationRequest, ToolsAsked
from streams.operator import accounts
from streams.subjects import APPROVAL, INVOKE, TOOLS
from workers.common.described import describe
from workers.common.recorder import Recorder
from workers.common.runtime import Runtime
from workers.common.verification import Verifier
from workers.gateway.adapters import BusBroker, BusPeople, WorkerViews
from workers.gateway.enforce import Gateway
from workers.gateway.handlers import Handlers
from workers.gateway.limits import Limits
from workers.gateway.stepping import Stepping

QUEUE = "gateway"


def build(settings: Settings) -> FastStream:
    """The application.  Its subscribers consume once the views are loaded."""
    runtime = Runtime("gateway", settings, facts=True, revocations=True, canary=True)
    limits = Limits(settings.limits)
    started: list[Recorder] = []

    async def start() -> None:
        recorder = Recorder(runtime.publisher)
        stepping = Stepping(runtime.facts.table, runtime.revocations.challenges, BusPeople(runtime.nc), runtime.clock)
        runtime.facts.on_change(stepping.changed)
        gateway = Gateway(
            views=WorkerViews(runtime),
            stepping=stepping,
            verifier=Verifier(runtime.facts.table, runtime.revocations.view, settings),
            broker=BusBroker(runtime.nc),
            record=recorder,
            clock=runtime.clock,
            settings=settings,
        )
        handlers = Handlers(runtime, gateway, stepping, limits=limits, recorder=recorder, accounts=accounts(settings))
        started.append(recorder)
        await runtime.subscribe_plain(INVOKE.filter, QUEUE, handlers.on_invoke)
        await runtime.subscribe_plain(TOOLS.filter, QUEUE, handlers.on_tools)
        await runtime.subscribe_plain(APPROVAL.filter, QUEUE, handlers.on_approval)
        runtime.detail = lambda: {"in_flight": runtime.in_flight, "callers": len(limits)}
        runtime.spawn(handlers.summarise_every_second(), name="summaries")

    async def stop() -> None:
        for recorder in started:
            await recorder.close()

    app = runtime.app(start=start, stop=stop)
    describe(app, INVOKE, QUEUE, InvocationRequest)
    describe(app, TOOLS, QUEUE, ToolsAsked)
    describe(app, APPROVAL, QUEUE, ApprovalAsked)
    return app
