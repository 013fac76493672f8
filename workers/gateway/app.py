"""The gateway, put together."""

from __future__ import annotations

from typing import Any

from faststream import FastStream

from config.settings import Settings
from schemas.envelope import CloudEvent
from schemas.invocation import InvocationRequest, ToolsAsked
from streams.operator import accounts
from streams.subjects import INVOKE, TOOLS
from workers.common import rpc
from workers.common.recorder import Recorder
from workers.common.runtime import Runtime
from workers.common.verification import Verifier
from workers.gateway.adapters import BusBroker, WorkerViews
from workers.gateway.enforce import Gateway
from workers.gateway.handlers import Handlers
from workers.gateway.limits import Limits

QUEUE = "gateway"


def build(settings: Settings) -> FastStream:
    """The application.  Its subscribers consume once the views are loaded."""
    runtime = Runtime("gateway", settings, facts=True, revocations=True, canary=True)
    limits = Limits(settings.limits)
    started: list[tuple[Handlers, Recorder]] = []

    async def start() -> None:
        recorder = Recorder(runtime.publisher)
        gateway = Gateway(
            views=WorkerViews(runtime),
            verifier=Verifier(runtime.facts.table, runtime.revocations.view, settings),
            broker=BusBroker(runtime.nc),
            record=recorder,
            clock=runtime.clock,
            settings=settings,
        )
        handlers = Handlers(runtime, gateway, limits, recorder, accounts(settings))
        started.append((handlers, recorder))
        runtime.detail = lambda: {"in_flight": runtime.in_flight, "callers": len(limits)}
        runtime.spawn(handlers.summarise_every_second(), name="summaries")

    async def stop() -> None:
        for _, recorder in started:
            await recorder.close()

    async def on_invoke(msg: Any) -> None:
        await started[0][0].on_invoke(msg)

    async def on_tools(msg: Any) -> None:
        await started[0][0].on_tools(msg)

    on_invoke.__annotations__["msg"] = CloudEvent[InvocationRequest]  # for AsyncAPI
    on_tools.__annotations__["msg"] = CloudEvent[ToolsAsked]
    for subject, handler in ((INVOKE, on_invoke), (TOOLS, on_tools)):
        runtime.broker.subscriber(subject.filter, queue=QUEUE, decoder=rpc.as_received, no_reply=True, title=subject.prefix)(handler)
    return runtime.app(start=start, stop=stop)
