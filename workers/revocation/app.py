"""Wires the worker: the only place that reads settings and keys and builds adapters.

Three groups of subscribers: what any copy answers (claims, uses, completed transactions: queue group `revocation`), what every copy
hears (acknowledgements and the republished stream, so that a standby knows what the writer knows), and what only the writer
does (orders, postures, outcomes: the duties of its role).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from faststream import FastStream
from nats.aio.msg import Msg
from weft.digest import canonical
from weft.errors import Malformed as MalformedKey
from weft.jws import ed25519_key

from config.settings import Settings
from schemas.drills import Verdict
from schemas.envelope import CloudEvent
from schemas.points import CLAIM_ANSWERED, RECORDED, Claim, Use
from schemas.revocation import COMMITTED, Ack, Complete, Signed
from schemas.snapshot import ANSWERED as SNAPSHOT_ANSWERED
from schemas.snapshot import SnapshotAsked
from schemas.status import GIVEN, LIST_ANSWERED, Allocated, ListAsked
from streams import keys, subjects
from streams.bus import Caller, CallerUnknown, Malformed, caller, event, parse
from streams.facts_load import LoadFailed, stream_state
from streams.facts_table import FactsTable
from streams.operator import accounts
from workers.common import log, rpc
from workers.common.buckets import Buckets
from workers.common.described import describe
from workers.common.raw import as_received
from workers.common.recorder import Recorder
from workers.common.runtime import Runtime
from workers.revocation.completion import LISTED, Tracker
from workers.revocation.completions import Completions
from workers.revocation.containment import Containment
from workers.revocation.drills import Drills
from workers.revocation.ledger import BrokenLedger, Head
from workers.revocation.orders import OrderDesk, Orders
from workers.revocation.outcomes import Outcomes
from workers.revocation.points import NATSClaims, Points
from workers.revocation.postures import PostureFeed, Postures
from workers.revocation.recording import SOURCE, Recording
from workers.revocation.role import Role
from workers.revocation.signing import KeySigner
from workers.revocation.snapshots import Snapshots
from workers.revocation.status import NATSAllocations, StatusIssuer
from workers.revocation.stream import NATSLedgerStream
from workers.revocation.writer import Writer

QUEUE = "revocation"
FACTS_HEAD_S = 0.3  # a beacon waits no longer for the head of FACTS
logger = structlog.get_logger()

POINT_PACE = 1000.0, 2000.0  # of one guard process, of each kind: a second in the long run, and at once
SNAPSHOT_PACE = 4.0, 500.0  # manifests and chunks (weft.snapshot.MAX_CHUNKS): a small question with a large answer


class Revocation:
    """The worker, once connected and its facts loaded."""

    def __init__(self, runtime: Runtime) -> None:
        settings, clock, nc = runtime.settings, runtime.clock, runtime.nc
        self._facts: FactsTable = runtime.facts.table
        self._clock = clock
        self._nc = nc
        self.recorder = Recorder(runtime.publisher)
        recording = Recording(self.recorder)
        self._signer = _signer(settings)
        self._stream = NATSLedgerStream(nc, runtime.publisher, lambda: revocation_keys(self._facts))
        self.outcomes = Outcomes(Tracker(lambda point: budget_of(self._facts, point)), recording, clock)
        self.containment = Containment(self._facts, self.outcomes.tracker, runtime.publisher, recording, clock)
        self.statuses = StatusIssuer(NATSAllocations(nc, runtime.publisher), runtime.revocations.view, settings, clock)
        self.orders = Orders(nc, recording, lambda: self.role.writer)
        self.completions = Completions(self._facts, runtime.revocations.view, settings, self.orders, clock)
        self.points = Points(self._facts.tool, NATSClaims(nc, runtime.publisher), recording, clock)
        postures = Postures(PostureFeed(nc), self._stream, recording)
        self.snapshots = Snapshots(
            runtime.revocations.view,
            lambda: runtime.revocations.feed.sequence,
            lambda claims, typ: self._signer.sign_bytes(canonical(claims), typ),
            clock,
        )
        self.drills = Drills(
            nc,
            self._facts,
            self.outcomes.tracker,
            recording,
            clock,
            every_s=settings.drill_every_s,
            root=f"spiffe://{settings.trust_domain}",
            accounts=accounts(settings),
            handle=runtime.handle,
        )
        duties = (
            OrderDesk(nc, self.orders, runtime.handle).serve,
            postures.serve,
            self.outcomes.serve,
            self.containment.serve,
            self.drills.serve,
        )
        self.role = Role(self._stream, self._writer_at, duties, clock)

    def _writer_at(self, head: Head) -> Writer:
        return Writer(
            head,
            stream=self._stream,
            signer=self._signer,
            tracker=self.outcomes.tracker,
            clock=self._clock,
            facts_head=self._facts_head,
        )

    async def _facts_head(self) -> int:
        """The head of FACTS by the stream's own word, so that a view which hears nothing shows; what we know where it stays silent."""
        try:
            async with asyncio.timeout(FACTS_HEAD_S):
                _, head = await stream_state(self._nc)
        except (LoadFailed, TimeoutError):
            return self._facts.revision
        return head

    def republished(self, subject: str, body: bytes) -> None:
        """A committed entry or beacon, by whomever."""
        try:
            if subject == subjects.PUSH_REVOCATION.at("beacon"):
                beacon = self._stream.beacon_in(body)
                self.role.beacon_heard(beacon)
                self.outcomes.beacon_seen(beacon)
                self.containment.changed()
            else:
                self.outcomes.entry_seen(self._stream.entry_in(body))
        except BrokenLedger as error:
            logger.error(log.CAUSE_REFUSED, detail=str(error))  # noqa: TRY400 - a trace would say no more

    def health(self) -> dict[str, Any]:
        """What this copy adds to its health."""
        writer = self.role.writer
        points = sum(1 for _ in self.outcomes.tracker.live())
        head = {} if writer is None else {"n": writer.head.n, "epoch": writer.head.epoch}
        late = sorted(self.containment.standing())[:LISTED]
        return {
            "role": "standby" if writer is None else "writer",
            "points": points,
            "uncontained": late,
            "drill": self.drills.detail(),
            **head,
        }


def build(settings: Settings) -> FastStream:  # noqa: C901 - one handler per subject
    """The application."""
    runtime = Runtime("revocation", settings, facts=True, revocations=True)
    worker: Revocation

    async def start() -> None:
        nonlocal worker
        worker = Revocation(runtime)
        runtime.detail = worker.health
        await runtime.subscribe_plain(subjects.STATUS.filter, QUEUE, on_status)
        await runtime.subscribe_plain(subjects.ACK.filter, "", on_ack)
        runtime.spawn(worker.role.run(), name="role")

    async def stop() -> None:
        worker.role.resign()
        await worker.recorder.close()

    async def on_claim(who: Caller, asked: CloudEvent[Claim]) -> bytes:
        return event(CLAIM_ANSWERED, await worker.points.claim(who.name, asked.data), source=SOURCE)

    async def on_use(who: Caller, said: CloudEvent[Use]) -> bytes:
        return event(RECORDED, await worker.points.use(who.name, said.data, said.id), source=SOURCE)

    async def on_complete(who: Caller, said: CloudEvent[Complete]) -> bytes:
        return event(COMMITTED, await worker.completions.complete(who.name, said.data.token), source=SOURCE)

    async def on_status(msg: Msg) -> None:
        async def answer() -> bytes:
            return event(GIVEN, await worker.statuses.allocate(parse(Allocated, msg.data).data), source=SOURCE)

        async def reply() -> None:
            await rpc.respond(runtime.nc, msg, await rpc.answered(answer, SOURCE))

        runtime.handle(reply(), name="status")

    async def on_snapshot(_: Caller, asked: CloudEvent[SnapshotAsked]) -> bytes | None:
        answer = await worker.snapshots.answer(asked.data)
        return None if answer is None else event(SNAPSHOT_ANSWERED, answer, source=SOURCE)

    async def on_verdict(who: Caller, said: CloudEvent[Verdict]) -> None:
        worker.drills.heard(who.name, said.data)

    async def on_list(_: Caller, asked: CloudEvent[ListAsked]) -> bytes:
        return event(LIST_ANSWERED, await worker.statuses.published(int(asked.data.list)), source=SOURCE)

    async def on_ack(msg: Msg) -> None:
        """Nobody answers, so nobody hears of one that cannot be read; every point sends one for every entry.

        What is beyond its pace says nothing: the next one within it says all that it said.
        """
        if not acks.take(msg.subject):
            return
        with suppress(CallerUnknown, Malformed):
            worker.outcomes.acked(caller(msg.headers, msg.subject, names).name, parse(Ack, msg.data).data)

    async def on_republished(msg: Any) -> None:
        worker.republished(msg.subject, msg.data)

    names, acks = accounts(settings), Buckets(*POINT_PACE)
    rpc.serve(runtime, subjects.CLAIM, Claim, on_claim, names, queue=QUEUE, pace=Buckets(*POINT_PACE))
    rpc.serve(runtime, subjects.USE, Use, on_use, names, queue=QUEUE, pace=Buckets(*POINT_PACE))
    rpc.serve(
        runtime,
        subjects.COMPLETE,
        Complete,
        on_complete,
        names,
        queue=QUEUE,
        pace=Buckets(settings.limits.rate_per_s, settings.limits.burst),
    )
    rpc.serve(runtime, subjects.EDGE_STATUS, ListAsked, on_list, names, queue=QUEUE)
    rpc.serve(runtime, subjects.SNAPSHOT, SnapshotAsked, on_snapshot, names, pace=Buckets(*SNAPSHOT_PACE))
    rpc.serve(runtime, subjects.VERDICT, Verdict, on_verdict, names, pace=Buckets(*POINT_PACE))
    on_republished.__annotations__["msg"] = CloudEvent[Signed]  # for AsyncAPI
    runtime.broker.subscriber(subjects.PUSH_REVOCATION.filter, decoder=as_received, no_reply=True, title="republished")(on_republished)
    app = runtime.app(start=start, stop=stop)
    describe(app, subjects.STATUS, QUEUE, Allocated)
    describe(app, subjects.ACK, "", Ack)
    return app


def revocation_keys(facts: FactsTable) -> dict[str, bytes]:
    """Whatever may have signed what the stream still holds: retired keys too, compromised ones never."""
    found = {}
    for fact in facts.keys("revocation"):
        try:
            if fact.state != "compromised":
                found[fact.kid] = ed25519_key(fact.jwk)
        except MalformedKey:
            continue  # a key that cannot be read verifies nothing
    return found


def budget_of(facts: FactsTable, point: str) -> float:
    """How old this point's view may get before it refuses by itself: the longest of the tools it serves."""
    _, workload = subjects.parse_connection_name(point)
    return float(max((tool.staleness_s for tool in facts.tools() if tool.workload == str(workload)), default=3))


def _signer(settings: Settings) -> KeySigner:
    key = keys.load_or_create(settings, "revocation")
    if not isinstance(key.private, Ed25519PrivateKey):
        raise keys.WrongKey("the revocation key is not an Ed25519 key")
    return KeySigner(key.private, key.kid)
