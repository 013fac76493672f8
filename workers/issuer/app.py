"""Where the issuer is built: its key, its view of who is registered, its two sockets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from config.settings import Settings, SettingsError
from schemas.facts import Kind, Selectors
from streams.facts import FactChange, FactsView
from streams.keys import WrongKey, load_or_create
from workers.common.identity import FactBundles
from workers.common.runtime import Runtime, WorkerApp
from workers.issuer.bundleboard import BundleBoard, jwks_by_domain
from workers.issuer.issuer import Issuer
from workers.issuer.kernel import boot_id
from workers.issuer.launches import Launches
from workers.issuer.registered import FactRegistrations, Host
from workers.issuer.service import IssuerService, api_socket, control_socket, launches_file
from workers.issuer.svids import SVIDSigner


def build(settings: Settings) -> WorkerApp:
    """The worker.  Raises SettingsError in a fabric that is configured for production."""
    if settings.mode == "production":
        raise SettingsError("mode: a fabric in production takes its identities from SPIRE, not from the development issuer")
    runtime = Runtime("issuer", settings, facts=True)
    services: list[IssuerService] = []

    async def start() -> None:
        board = BundleBoard()
        follow(runtime.facts, board)
        host = Host(sys.executable, os.getuid(), boot_id())
        launches = Launches(launches_file(settings), host.boot_id)
        issuer = Issuer(signer(settings), Registered(runtime.facts), host, launches, runtime.clock)
        service = IssuerService(issuer, board, FactBundles(runtime.facts), runtime.clock)
        await service.start(api_socket(settings), control_socket(settings))
        services.append(service)

    async def stop() -> None:
        for service in services:
            await service.stop()

    return runtime.app(start=start, stop=stop)


class Registered:
    """The registrations of the facts view; nobody is registered while it is not loaded."""

    def __init__(self, facts: FactsView) -> None:
        self._facts = facts
        self._registrations = FactRegistrations(facts.table)

    def all(self) -> Iterable[tuple[str, Selectors]]:
        """See Registrations."""
        return self._registrations.all() if self._facts.loaded else ()


def follow(facts: FactsView, board: BundleBoard) -> None:
    """Post the bundles now and whenever a key changes."""

    def post(change: FactChange | None) -> None:
        if change is None or change.kind is Kind.KEY:
            board.post(jwks_by_domain(facts.keys("svid")))

    post(None)
    facts.on_change(post)


def signer(settings: Settings) -> SVIDSigner:
    """With the `svid` key of the state folder.  Raises WrongKey."""
    key = load_or_create(settings, "svid")
    if not isinstance(key.private, EllipticCurvePrivateKey):
        raise WrongKey("not a key for svid")
    return SVIDSigner(settings.trust_domain, key.kid, key.private)
