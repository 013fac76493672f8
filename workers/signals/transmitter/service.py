"""The transmitter, put together; `workers.signals.app` starts it and stops it with the worker."""

from __future__ import annotations

from typing import Any

from schemas.base import Wire
from schemas.envelope import CloudEvent
from schemas.facts import Key, Kind
from schemas.facts import PushDelivery as Push
from schemas.record import Responded, Revoked
from schemas.ssf import ANSWERED, Asked, StreamsCommand
from streams import keys, subjects
from streams.bus import Caller, event
from streams.facts_table import FactChange, FactsTable
from streams.keys import SignalsPurpose
from streams.operator import accounts
from workers.common import rpc
from workers.common.fetching import Fetcher
from workers.common.outbound.rules import Rules
from workers.common.pulling import follow
from workers.common.runtime import Runtime
from workers.signals.recording import SOURCE, Recording
from workers.signals.ring import Ring
from workers.signals.transmitter.api import API
from workers.signals.transmitter.authorizing import TokenAuthorizer
from workers.signals.transmitter.configuration import Transmitter
from workers.signals.transmitter.operators import Operators
from workers.signals.transmitter.outbox import Outbox
from workers.signals.transmitter.poll import Arrivals, Poller
from workers.signals.transmitter.pushers import Pushers
from workers.signals.transmitter.queue import OutgoingQueue
from workers.signals.transmitter.sealing import Sealer
from workers.signals.transmitter.sets import Signatures
from workers.signals.transmitter.store import FactStreams
from workers.signals.transmitter.telling import Teller
from workers.signals.verify import Verify

QUEUE = "signals"
SET_PURPOSES: tuple[SignalsPurpose, ...] = ("signals", "signals-rs256")
LAST_SET_S = 31 * 86_400  # nothing of ours waits for its receiver longer than thirty days


class Transmitting:
    """Its parts, once the worker is connected and its facts are loaded."""

    def __init__(self, runtime: Runtime, recording: Recording, verify: Verify) -> None:
        settings, clock, nc, facts = runtime.settings, runtime.clock, runtime.nc, runtime.facts
        transmitter = Transmitter(settings.ssf_base, settings.ssf_default_subjects, settings.ssf_min_verification_interval_s)
        root = f"spiffe://{settings.trust_domain}"
        queue, streams = OutgoingQueue(nc, runtime.publisher), FactStreams(nc, runtime.publisher, facts)
        sealer = Sealer(keys.seal_key(settings))
        authorizer = TokenAuthorizer(facts.table, runtime.revocations.view, settings, runtime.views_fresh)
        outbox = Outbox(
            transmitter,
            streams,
            queue,
            authorizer=authorizer,
            signs=Signatures(Ring(facts.table, clock, settings, purpose) for purpose in SET_PURPOSES),
            fetches=Fetcher(nc, source=SOURCE),
            sealer=sealer,
            recording=recording,
            clock=clock,
            root=root,
        )
        self.arrivals = Arrivals()
        self.pushers = Pushers(nc, outbox.attempt, clock.now)
        self.teller = Teller(nc, facts, outbox, verify, issuer=settings.issuer)
        self.operators = Operators(facts.table, streams, queue, outbox, clock=clock, root=root)
        self.api = API(
            transmitter,
            streams,
            queue,
            authorizer=authorizer,
            outbox=outbox,
            poller=Poller(queue, outbox, self.arrivals),
            pushers=self.pushers,
            sealer=sealer,
            rules=Rules.of(settings.outbound_private.receivers),
            clock=clock,
            jwks=lambda: jwks(facts.table, clock.now()),
        )
        self._table = facts.table
        self._may_send = outbox.may_send

    def follow(self) -> None:
        """What is to be pushed, as the facts have it now."""
        streams = self._table.streams()
        self.pushers.sync({one.stream_id for one in streams if isinstance(one.delivery, Push) and self._may_send(one)})

    def changed(self, change: FactChange) -> None:
        """A stream, or the client that it belongs to."""
        if change.kind in (Kind.STREAM, Kind.CLIENT):
            self.follow()


def jwks(facts: FactsTable, now: float) -> dict[str, Any]:
    """The keys of SETs, RFC 7517 section 5: those that will sign, those that do, and those whose last SET may still be on its way."""
    held = (key for purpose in SET_PURPOSES for key in facts.keys(purpose) if key.state != "compromised")
    return {"keys": [_public(key) for key in held if key.not_after is None or now < key.not_after + LAST_SET_S]}


def _public(key: Key) -> dict[str, Any]:
    """Public members alone, whatever the fact holds."""
    return {name: value for name, value in key.jwk.items() if name in ("kty", "crv", "x", "y", "n", "e", "kid", "use", "alg")}


class Subscriptions:
    """Declared when the worker is built, served once it has started."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._parts: Transmitting | None = None
        names = accounts(runtime.settings)
        rpc.serve(runtime, subjects.EDGE_SSF, Asked, self._on_asked, names, queue=QUEUE)
        rpc.serve(runtime, subjects.STREAMS, StreamsCommand, self._on_command, names, queue=QUEUE)
        self._follow_record("tell-responses", subjects.RECORD.at("signals", "responded"), Responded)
        self._follow_record("tell-revocations", subjects.RECORD.at("revocation", "revoked"), Revoked)

    def _follow_record(self, durable: str, family: str, model: type[Wire]) -> None:
        """One at a time: a restoration is told after the quarantine it ends."""

        async def on_record(msg: Any) -> None:
            await self._started.teller.on_message(msg)

        follow(self._runtime, ("RECORD", durable), f"{family}.>", on_record, CloudEvent[model])  # type: ignore[valid-type]

    async def start(self, recording: Recording, verify: Verify) -> None:
        """Connected, views loaded."""
        parts = Transmitting(self._runtime, recording, verify)
        self._parts = parts
        await self._runtime.subscribe_plain(subjects.PUSH_OUTGOING.filter, "", parts.arrivals.on_message)
        self._runtime.facts.on_change(parts.changed)
        parts.follow()

    async def stop(self) -> None:
        """What pushes ends."""
        if self._parts is not None:
            await self._parts.pushers.close()

    @property
    def _started(self) -> Transmitting:
        if self._parts is None:
            raise RuntimeError("not started")
        return self._parts

    async def _on_asked(self, _who: Caller, asked: CloudEvent[Asked]) -> bytes:
        return event(ANSWERED, await self._started.api.answer(asked.data), source=SOURCE)

    async def _on_command(self, who: Caller, asked: CloudEvent[StreamsCommand]) -> bytes:
        return await self._started.operators.answer(who, asked.data)
