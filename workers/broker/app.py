"""The broker, put together.  Nobody else loads the key that signs tokens."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from faststream import FastStream

from config.settings import Settings
from schemas.minting import MintRequests
from streams import keys
from streams.subjects import MINT
from workers.broker.adapters import RecordHistory, WorkerViews
from workers.broker.handlers import Handlers
from workers.broker.mint import Mint
from workers.broker.signer import TokenSigner
from workers.broker.status import BusStatuses
from workers.common.described import describe
from workers.common.recorder import Recorder
from workers.common.runtime import Runtime
from workers.common.verification import Verifier

QUEUE = "broker"


def build(settings: Settings) -> FastStream:
    """The application.  Its subscriber consumes once the views are loaded."""
    runtime = Runtime("broker", settings, facts=True, revocations=True, canary=True)
    signer = load_signer(settings)
    started: list[Recorder] = []

    async def start() -> None:
        recorder = Recorder(runtime.publisher)
        mint = Mint(
            views=WorkerViews(runtime),
            verifier=Verifier(runtime.facts.table, runtime.revocations.view, settings),
            record=recorder,
            history=RecordHistory(runtime.nc),
            signer=signer,
            statuses=BusStatuses(runtime.nc),
            clock=runtime.clock,
            settings=settings,
        )
        started.append(recorder)
        await runtime.subscribe_plain(MINT.filter, QUEUE, Handlers(runtime, mint, recorder).on_mint)
        runtime.detail = lambda: {"in_flight": runtime.in_flight, "kid": signer.kid}

    async def stop() -> None:
        for recorder in started:
            await recorder.close()

    app = runtime.app(start=start, stop=stop)
    describe(app, MINT, QUEUE, MintRequests)
    return app


def load_signer(settings: Settings) -> TokenSigner:
    """The key of purpose `tokens`.  Raises streams.keys.WrongKey."""
    key = keys.load_or_create(settings, "tokens")
    if not isinstance(key.private, EllipticCurvePrivateKey):
        raise keys.WrongKey("the token key is not a P-256 key")
    return TokenSigner(key.private, key.kid)
