"""The broker, put together.  Nobody else opens the keys that sign tokens, or the vault."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

from faststream import FastStream

from config.settings import Settings
from schemas.drills import CanaryWanted
from schemas.envelope import CloudEvent
from schemas.minting import MintRequests
from schemas.oauth import Asked
from schemas.sealed import SealedAsked
from schemas.vault import PrepareKey, Release, VaultCommand
from streams import namessecret, subjects
from streams.bus import Caller
from streams.envelope import KeyEncryption, load_kek
from streams.operator import accounts
from streams.subjects import CANARY, MINT, OAUTH, SEALED
from workers.broker.adapters import BusApprovals, RecordHistory, WorkerViews
from workers.broker.authservers.asking import Asker
from workers.broker.authservers.assertions import Names
from workers.broker.authservers.ledger import Ledger
from workers.broker.authservers.obtaining import Elsewhere
from workers.broker.authservers.ways import BrokersWays
from workers.broker.canary import Canaries, on_canary
from workers.broker.claims import fresh_id
from workers.broker.custody import Custodian
from workers.broker.handlers import Handlers
from workers.broker.keyring import Keyring
from workers.broker.mint import Mint
from workers.broker.oauth.adapters import Claims, RevocationOrders
from workers.broker.oauth.failures import FailureRecords
from workers.broker.oauth.handlers import OAuthHandlers
from workers.broker.oauth.inspection import Inspection
from workers.broker.oauth.nonces import Nonces
from workers.broker.oauth.parts import Parts
from workers.broker.oauth.recording import Recording
from workers.broker.peers import Peers
from workers.broker.release import Releases
from workers.broker.rotation import Rotation
from workers.broker.status import BusStatuses
from workers.broker.store import Store
from workers.broker.vault import Vault
from workers.common import log, rpc
from workers.common.described import describe
from workers.common.recorder import Recorder
from workers.common.runtime import Runtime
from workers.common.singleuse import SingleUse
from workers.common.verification import Verifier

QUEUE = "broker"
UPKEEP_S = 60


class Broker:
    """The worker, once connected and its views loaded."""

    def __init__(self, runtime: Runtime, kek: KeyEncryption, vault: Vault, ledger: Ledger) -> None:
        settings, clock, facts = runtime.settings, runtime.clock, runtime.facts.table
        self._runtime = runtime
        self.names = namessecret.load_or_create(settings, kek)
        self.recorder = Recorder(runtime.publisher)
        self.failures: FailureRecords | None = None
        self.vault = vault
        self.ledger = ledger
        self.store = Store(settings, kek, vault)
        self.store.peers = self.peers = Peers(runtime.nc, self.store.held)
        self.keyring = Keyring(facts, clock)
        self.rotation = Rotation(facts, self.keyring, self.store, clock)
        views, view = WorkerViews(runtime), runtime.revocations.view
        verifier = Verifier(facts, view, settings)
        self.ways = BrokersWays(settings)
        self.elsewhere = self._elsewhere(settings)
        runtime.revocations.on_applied.append(self.elsewhere.returning.revoked)
        self.mint = Mint(
            views=views,
            verifier=verifier,
            record=self.recorder,
            history=RecordHistory(runtime.nc),
            approvals=BusApprovals(runtime.nc),
            signer=self.keyring,
            statuses=BusStatuses(runtime.nc),
            clock=clock,
            settings=settings,
            elsewhere=self.elsewhere,
        )
        self.canaries = Canaries(views=views, record=self.recorder, signer=self.keyring, clock=clock, settings=settings, fresh_id=fresh_id)
        self.releases = Releases(
            views, verifier, view, store=self.store, recorder=self.recorder, clock=clock, settings=settings, elsewhere=self.elsewhere
        )
        self.custodian = Custodian(
            facts,
            runtime.publisher,
            store=self.store,
            rotation=self.rotation,
            recorder=self.recorder,
            clock=clock,
            trust_domain=settings.trust_domain,
            reach=views.reach,
        )

    def detail(self) -> dict[str, Any]:
        """Of its health."""
        kid = self.keyring.kid if self.keyring.ready else None
        failed = 0 if self.failures is None else self.failures.total
        return {"in_flight": self._runtime.in_flight, "kid": kid, "failed_client_authentications": failed}

    def _elsewhere(self, settings: Settings) -> Elsewhere:
        asker = Asker(self.ways, self.keyring, Names(self.names), issuer=settings.issuer, now=self._runtime.clock.now, fresh_id=fresh_id)
        return Elsewhere(
            facts=lambda: self._runtime.facts.table,
            revocations=self._runtime.revocations.view,
            asker=asker,
            record=self.recorder,
            ledger=self.ledger,
            clock=self._runtime.clock,
            spawn=self._runtime.handle,
            logger=self._runtime.log,
        )

    async def prepare(self) -> None:
        """What has to be there before the first request: the keys, and everything under the current KEK."""
        await self.rotation.load()
        count = await self.store.rewrap() + await self.ledger.rewrap()
        if count:
            self._runtime.log.info(log.VAULT_REWRAPPED, count=count)

    async def upkeep(self) -> None:
        """For the worker's life: delete what the facts have let go, here and on other machines."""
        while True:
            await asyncio.sleep(UPKEEP_S)
            await self.rotation.sweep()
            await self.store.sweep(self._runtime.facts.table, int(time.time()) - UPKEEP_S)

    async def close(self) -> None:
        """Ends what was opened; what was obtained elsewhere is taken back."""
        await self.elsewhere.returning.stop()
        await self.ways.aclose()
        if self.failures is not None:
            await self.failures.close()
        await self.recorder.close()
        await self.vault.close()
        await self.ledger.close()


def build(settings: Settings) -> FastStream:
    """The application.  Its subscribers consume once the views are loaded."""
    runtime = Runtime("broker", settings, facts=True, revocations=True, canary=True)
    kek = load_kek(settings)
    broker: Broker

    async def start() -> None:
        nonlocal broker
        async with AsyncExitStack() as stack:  # what is open when the rest fails is closed
            vault = await Vault.open(settings.state / "broker" / "vault.db")
            stack.push_async_callback(vault.close)
            ledger = await Ledger.open(settings.state / "broker", kek)
            stack.push_async_callback(ledger.close)
            broker = Broker(runtime, kek, vault, ledger)
            await runtime.subscribe_plain(SEALED.filter, "", broker.peers.on_asked)
            await broker.prepare()
            stack.pop_all()
        runtime.facts.on_change(broker.rotation.changed)
        runtime.spawn(broker.rotation.run(), name="rotation")
        runtime.spawn(broker.upkeep(), name="upkeep")
        runtime.spawn(broker.elsewhere.returning.upkeep(), name="taking back")
        await runtime.subscribe_plain(MINT.filter, QUEUE, Handlers(runtime, broker.mint, broker.recorder).on_mint)
        await runtime.subscribe_plain(CANARY.filter, QUEUE, on_canary(broker.canaries, runtime.nc, runtime.handle))
        face = oauth_face(runtime, broker)
        broker.failures = face.failures
        runtime.spawn(face.failures.run(), name="client_failures")
        await runtime.subscribe_plain(OAUTH.filter, QUEUE, face.on_asked)
        runtime.fit = lambda: broker.keyring.ready
        runtime.detail = broker.detail

    async def stop() -> None:
        await broker.close()

    async def on_prepare(who: Caller, asked: CloudEvent[PrepareKey]) -> bytes:
        return await broker.custodian.prepare_key(who, asked)

    async def on_vault(who: Caller, asked: CloudEvent[VaultCommand]) -> bytes:
        return await broker.custodian.vault(who, asked)

    async def on_release(who: Caller, asked: CloudEvent[Release]) -> bytes:
        return await broker.releases.release(who, asked)

    names = accounts(settings)
    rpc.serve(runtime, subjects.KEYS, PrepareKey, on_prepare, names, queue=QUEUE)
    rpc.serve(runtime, subjects.VAULT, VaultCommand, on_vault, names, queue=QUEUE)
    rpc.serve(runtime, subjects.RELEASE, Release, on_release, names, queue=QUEUE)
    app = runtime.app(start=start, stop=stop)
    describe(app, MINT, QUEUE, MintRequests)
    describe(app, CANARY, QUEUE, CanaryWanted)
    describe(app, OAUTH, QUEUE, Asked)
    describe(app, SEALED, "", SealedAsked)
    return app


def oauth_face(runtime: Runtime, broker: Broker) -> OAuthHandlers:
    """Token endpoint, introspection and revocation, over this broker's views."""
    settings, view = runtime.settings, runtime.revocations.view
    parts = Parts(
        views=WorkerViews(runtime),
        verifier=Verifier(runtime.facts.table, view, settings),
        revocations=view,
        recording=Recording(broker.recorder),
        history=RecordHistory(runtime.nc),
        signer=broker.keyring,
        statuses=BusStatuses(runtime.nc),
        once=Claims(SingleUse(runtime.publisher, "broker")),
        clock=runtime.clock,
        settings=settings,
        nonces=Nonces(broker.names) if settings.oauth_dpop_nonce else None,
    )
    return OAuthHandlers(runtime, parts, Inspection(parts, RevocationOrders(runtime.nc)), accounts(settings))
