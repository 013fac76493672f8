"""Wires the worker: the only place that reads settings and keys and builds adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faststream import FastStream
from weft.digest import sha256

from config.settings import Settings
from schemas.commands import Lift, Resolve, Revoke, Sweep, Waiting
from schemas.envelope import CloudEvent
from schemas.facts import Kind, Subscription
from schemas.points import RECORDED, SET_ANSWERED, PointSignal, SetAnswer, SetDelivery, UseRecorded
from schemas.record import Completed, Responded
from schemas.signals import DETECTIONS
from streams import keys, subjects
from streams.bus import Caller, event
from streams.operator import accounts
from workers.common import rpc
from workers.common.factwriter import FactWriter
from workers.common.fetching import Fetcher
from workers.common.pulling import follow
from workers.common.recorder import Recorder
from workers.common.runtime import Runtime
from workers.signals.belonging import Belonging
from workers.signals.changes import Postures
from workers.signals.commands import Commands
from workers.signals.completions import Completions
from workers.signals.doing import Doing
from workers.signals.instances import Instances
from workers.signals.intake import Intake
from workers.signals.orders import Orders
from workers.signals.pending import PendingResponses
from workers.signals.receipts import Signer
from workers.signals.receiver.keeper import Keeper
from workers.signals.receiver.poller import Poller
from workers.signals.receiver.remote import Remote
from workers.signals.receiver.secrets import Secrets, given_secret
from workers.signals.receiver.service import Receiver
from workers.signals.receiver.tokens import Tokens
from workers.signals.receiver.transmitters import Transmitters
from workers.signals.recent import Recent
from workers.signals.recording import SOURCE, Recording
from workers.signals.responder import Responder
from workers.signals.restore import Restorer
from workers.signals.returning import Returning
from workers.signals.ring import Ring
from workers.signals.telling import Telling
from workers.signals.transmitter.service import Subscriptions
from workers.signals.voice import Risk
from workers.signals.watch.detect import Finding
from workers.signals.watch.watcher import Watcher

QUEUE = "signals"
AT_ONCE = 8  # signals that are answered at the same time
RETURNED_AT_ONCE = 4  # receipts on their way back


class Signals:
    """The worker, once connected and its facts loaded."""

    def __init__(self, runtime: Runtime) -> None:
        settings, clock, nc, facts = runtime.settings, runtime.clock, runtime.nc, runtime.facts.table
        self.recorder = Recorder(runtime.publisher)
        self.recording = recording = Recording(self.recorder)
        signer = Signer(Ring(facts, clock, settings, "signals"), settings.issuer)
        postures, instances, orders = Postures(nc, runtime.publisher, clock), Instances(nc), Orders(nc)
        telling, doing = Telling(facts, recording, signer, clock), Doing(postures, orders)
        fetches = Fetcher(nc, source=SOURCE)
        self.transmitters = transmitters = Transmitters(facts.transmitter, fetches, clock)
        secrets = Secrets(keys.seal_key(settings))
        tokens = Tokens(fetches, lambda name: given_secret(settings.keys, name), lambda claims: signer.sign("JWT", claims), clock)
        remote = Remote(fetches, tokens)
        keeper = Keeper(remote, secrets, facts.transmitter, clock, base=settings.ssf_base, domain=settings.trust_domain)
        self.receiver = Receiver(facts, keeper, Poller(remote, self._polled), clock)
        self.intake = Intake(
            facts,
            runtime.publisher,
            recording=recording,
            signer=signer,
            clock=clock,
            background=runtime.handle,
            settings=settings,
            transmitters=transmitters,
            secrets=secrets,
            streams_of=self.receiver.streams_of,
        )
        self.returning = Returning(facts.transmitter, fetches, clock)
        self.watcher = Watcher(nc, facts.detections, self._say, clock)
        self.pending = PendingResponses(
            facts,
            FactWriter(runtime.publisher, worker="signals"),
            doing,
            telling,
            clock,
            instances=instances,
            root=f"spiffe://{settings.trust_domain}",
        )
        self.responder = Responder(
            facts,
            Recent(nc, facts, transmitters),
            postures=postures,
            doing=doing,
            pending=self.pending,
            telling=telling,
            instances=instances,
            recording=recording,
            trust_domain=settings.trust_domain,
            transmitters=transmitters,
        )
        self.completions = Completions(nc, recording, signer, clock)
        self.commands = Commands(
            facts,
            postures,
            orders=orders,
            instances=instances,
            belonging=Belonging(nc, settings.trust_domain),
            recording=recording,
            signer=signer,
            clock=clock,
            trust_domain=settings.trust_domain,
        )
        self.restorer = Restorer(facts, postures, recording, signer, clock)

    async def _polled(self, unverified: str, subscription: Subscription) -> SetAnswer:
        """A SET that was fetched."""
        return await self.intake.accept(unverified, subscription, f"subscription:{subscription.name}")

    async def _say(self, found: Finding) -> None:
        """What a detection found, in the detections' own voice."""
        risk = Risk(found.agent, found.instance, found.txn, found.rule.level, f"{found.rule.name}: {found.what}")
        await self.intake.voice.say(DETECTIONS, sha256(found.once), risk, "signals")


def build(settings: Settings) -> FastStream:
    """The application."""
    runtime = Runtime("signals", settings, facts=True, revocations=True)
    worker: Signals
    transmitter = Subscriptions(runtime)

    async def start() -> None:
        nonlocal worker
        worker = Signals(runtime)
        runtime.facts.on_change(worker.restorer.changed)
        runtime.spawn(worker.restorer.run(), name="restorer")
        runtime.facts.on_change(lambda change: worker.watcher.changed() if change.kind is Kind.DETECTION else None)
        runtime.on_reconnected(worker.watcher.reconnected)
        runtime.spawn(worker.watcher.run(), name="watcher")
        runtime.facts.on_change(worker.receiver.changed)
        runtime.spawn(worker.receiver.run(), name="receiver")
        runtime.detail = worker.receiver.detail
        await transmitter.start(worker.recording, worker.transmitters.verify)

    async def stop() -> None:
        await transmitter.stop()
        await worker.recorder.close()

    async def on_set(who: Caller, asked: CloudEvent[SetDelivery]) -> bytes:
        return event(SET_ANSWERED, await worker.intake.deliver(who, asked.data), source=SOURCE)

    async def on_notice(who: Caller, said: CloudEvent[PointSignal]) -> bytes:
        seq = await worker.intake.notice(who, said.data, said.id)
        return event(RECORDED, UseRecorded(seq=seq or 0), source=SOURCE)

    async def on_signal(msg: Any) -> None:
        await worker.responder.on_message(msg)

    async def on_completed(msg: Any) -> None:
        await worker.completions.on_message(msg)

    async def on_told(msg: Any) -> None:
        await worker.returning.on_message(msg)

    names = accounts(settings)
    rpc.serve(runtime, subjects.SET, SetDelivery, on_set, names, queue=QUEUE)
    rpc.serve(runtime, subjects.NOTICE, PointSignal, on_notice, names, queue=QUEUE)
    _serve_people(runtime, lambda: worker)
    follow(runtime, ("SIGNALS", "signals"), subjects.SIGNAL.filter, on_signal, CloudEvent[SetDelivery], at_once=AT_ONCE)
    follow(runtime, ("RECORD", "receipts"), f"{subjects.RECORD.at('revocation', 'completed')}.>", on_completed, CloudEvent[Completed])
    returned = ("RECORD", "return-receipts")
    follow(runtime, returned, f"{subjects.RECORD.at('signals')}.>", on_told, CloudEvent[Responded], at_once=RETURNED_AT_ONCE)
    return runtime.app(start=start, stop=stop)


def _serve_people(runtime: Runtime, worker: Callable[[], Signals]) -> None:
    """What operators command: taken back and given back, confirmed and dismissed, and what waits."""

    async def on_revoke(who: Caller, asked: CloudEvent[Revoke]) -> bytes:
        return await worker().commands.revoke(who, asked.data)

    async def on_sweep(who: Caller, asked: CloudEvent[Sweep]) -> bytes:
        return await worker().commands.sweep(who, asked.data)

    async def on_lift(who: Caller, asked: CloudEvent[Lift]) -> bytes:
        return await worker().commands.lift(who, asked.data)

    async def on_resolve(who: Caller, asked: CloudEvent[Resolve]) -> bytes:
        return await worker().pending.resolve(who, asked.data)

    async def on_responses(who: Caller, asked: CloudEvent[Waiting]) -> bytes:
        return worker().pending.waiting(who, asked.data)

    names = accounts(runtime.settings)
    rpc.serve(runtime, subjects.REVOKE, Revoke, on_revoke, names, queue=QUEUE)
    rpc.serve(runtime, subjects.SWEEP, Sweep, on_sweep, names, queue=QUEUE)
    rpc.serve(runtime, subjects.LIFT, Lift, on_lift, names, queue=QUEUE)
    rpc.serve(runtime, subjects.RESOLVE, Resolve, on_resolve, names, queue=QUEUE)
    rpc.serve(runtime, subjects.RESPONSES, Waiting, on_responses, names, queue=QUEUE)
