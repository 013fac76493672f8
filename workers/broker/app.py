"""The broker, put together.  Nobody else loads the key that signs tokens."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from faststream import FastStream

from config.settings import Settings
from schemas.minting import MintRequests
from schemas.oauth import Asked
from streams import keys
from streams.operator import accounts
from streams.subjects import MINT, OAUTH
from workers.broker.adapters import RecordHistory, WorkerViews
from workers.broker.handlers import Handlers
from workers.broker.mint import Mint
from workers.broker.oauth.adapters import Claims, RevocationOrders
from workers.broker.oauth.handlers import OAuthHandlers
from workers.broker.oauth.inspection import Inspection
from workers.broker.oauth.parts import Parts
from workers.broker.oauth.recording import Recording
from workers.broker.signer import TokenSigner
from workers.broker.status import BusStatuses
from workers.common.described import describe
from workers.common.recorder import Recorder
from workers.common.runtime import Runtime
from workers.common.singleuse import SingleUse
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
        oauth = oauth_face(runtime, settings, recorder, signer)
        await runtime.subscribe_plain(MINT.filter, QUEUE, Handlers(runtime, mint, recorder).on_mint)
        await runtime.subscribe_plain(OAUTH.filter, QUEUE, oauth.on_asked)
        runtime.detail = lambda: {"in_flight": runtime.in_flight, "kid": signer.kid}

    async def stop() -> None:
        for recorder in started:
            await recorder.close()

    app = runtime.app(start=start, stop=stop)
    describe(app, MINT, QUEUE, MintRequests)
    describe(app, OAUTH, QUEUE, Asked)
    return app


def oauth_face(runtime: Runtime, settings: Settings, recorder: Recorder, signer: TokenSigner) -> OAuthHandlers:
    """Token endpoint, introspection and revocation, over this broker's views."""
    view = runtime.revocations.view
    parts = Parts(
        views=WorkerViews(runtime),
        verifier=Verifier(runtime.facts.table, view, settings),
        revocations=view,
        recording=Recording(recorder),
        history=RecordHistory(runtime.nc),
        signer=signer,
        statuses=BusStatuses(runtime.nc),
        once=Claims(SingleUse(runtime.publisher, "broker")),
        clock=runtime.clock,
        settings=settings,
    )
    return OAuthHandlers(runtime, parts, Inspection(parts, RevocationOrders(runtime.nc)), accounts(settings))


def load_signer(settings: Settings) -> TokenSigner:
    """The key of purpose `tokens`.  Raises streams.keys.WrongKey."""
    key = keys.load_or_create(settings, "tokens")
    if not isinstance(key.private, EllipticCurvePrivateKey):
        raise keys.WrongKey("the token key is not a P-256 key")
    return TokenSigner(key.private, key.kid)
