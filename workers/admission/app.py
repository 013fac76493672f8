"""Where admission is built: three connections, each with its own credential, and what runs on them.

FABRIC through FastStream: facts, revocations, RECORD, orders to cut.  AUTH and SYS are plain nats-py clients: the callout is one
subscription whose bodies are sealed, and SYS speaks nats-server's own protocol; neither carries CloudEvents, nor any message of ours.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from config.settings import Settings
from schemas.commands import CUT_ORDERED, CutOrder
from schemas.envelope import CloudEvent
from streams.access import OUTER_ACCOUNTS
from streams.bus import Malformed, connect_options, parse
from streams.operator import AdmissionKeys, admission_keys
from streams.subjects import CUT
from workers.admission.callout import SUBJECT, XKEY_HEADER
from workers.admission.connections import Connections
from workers.admission.cut import Cutter
from workers.admission.decide import Fabric
from workers.admission.recording import AdmissionRecord
from workers.admission.service import DEADLINE_S, Callout, Views
from workers.admission.standing import TableFacts
from workers.common import log
from workers.common.identity import FactBundles
from workers.common.raw import as_received
from workers.common.recorder import Recorder
from workers.common.runtime import Runtime, WorkerApp
from workers.common.tasks import Tasks

QUEUE = "admission"


def build(settings: Settings) -> WorkerApp:
    """The worker."""
    keys = admission_keys(settings)
    runtime = Runtime("admission", settings, facts=True, revocations=True, canary=True)
    stack = AsyncExitStack()
    cutters: list[Cutter] = []

    async def on_cut_ordered(message: Any) -> None:
        try:
            order = parse(CutOrder, message.data)
        except Malformed:
            order = None
        if order is None or order.type != CUT_ORDERED:
            runtime.log.warning(log.CUT_FAILED, cause="not an order to cut")
            return
        cutters[0].order(order.data.name, order.data.cause)

    on_cut_ordered.__annotations__["message"] = CloudEvent[CutOrder]  # for AsyncAPI
    runtime.broker.subscriber(CUT.filter, queue=QUEUE, decoder=as_received, no_reply=True, title=CUT.prefix)(on_cut_ordered)

    async def start() -> None:
        recorder = Recorder(runtime.publisher)
        stack.push_async_callback(recorder.close)
        record = AdmissionRecord(recorder, runtime.clock, runtime.copy_id)
        cutters.append(await _cutter(runtime, stack, keys, record))
        await _callout(runtime, stack, keys, record)

    return runtime.app(start=start, stop=stack.aclose)


async def _cutter(runtime: Runtime, stack: AsyncExitStack, keys: AdmissionKeys, record: AdmissionRecord) -> Cutter:
    nc = await _connect(runtime, stack, "admission-sys")
    outer = {name: keys.accounts[name] for name in OUTER_ACCOUNTS}
    cutter = Cutter(Connections(nc, outer), runtime.facts, record, runtime.handle)
    runtime.facts.on_change(cutter.on_change)
    runtime.spawn(cutter.run(), name="cutter")
    return cutter


async def _callout(runtime: Runtime, stack: AsyncExitStack, keys: AdmissionKeys, record: AdmissionRecord) -> None:
    settings = runtime.settings
    fabric = Fabric(settings.trust_domain, settings.mode)
    views = Views(TableFacts(runtime.facts.table), FactBundles(runtime.facts), runtime.views_fresh, fabric)
    callout = Callout(keys, views, record, runtime.clock)

    def failed(name: str, error: BaseException) -> None:
        runtime.log.error(log.REQUEST_FAILED, task=name, error=type(error).__name__)

    async def answer(message: Msg) -> None:
        sealed = await callout.answer(message.data, (message.headers or {}).get(XKEY_HEADER, ""))
        if sealed is not None:
            await nc.publish(message.reply, sealed)

    async def on_request(message: Msg) -> None:
        requests.start(answer(message), name="callout")

    nc = await _connect(runtime, stack, "admission-auth")
    requests = Tasks(failed)  # not the runtime's: these end before the connection that they answer on
    stack.push_async_callback(requests.close, DEADLINE_S)
    subscription = await nc.subscribe(SUBJECT, queue=QUEUE, cb=on_request)
    stack.push_async_callback(subscription.unsubscribe)
    await nc.flush()


async def _connect(runtime: Runtime, stack: AsyncExitStack, credential: str) -> Client:
    async def closed() -> None:
        runtime.fail(f"{credential}_closed")

    nc = await nats.connect(**connect_options(credential, runtime.settings), closed_cb=closed)
    stack.push_async_callback(nc.close)
    return nc
