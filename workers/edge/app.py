"""The edge, put together."""

from __future__ import annotations

from ipaddress import ip_network

from faststream import FastStream

from config.settings import Settings
from schemas.fetching import Fetch
from schemas.ssf import well_known_path
from streams.subjects import FETCH
from workers.common import log
from workers.common.described import describe
from workers.common.httpconnections import Connections
from workers.common.httpserver import HTTPServer, Listening
from workers.common.runtime import Runtime
from workers.edge import fetch
from workers.edge.bus import Bus
from workers.edge.faces import jwks, oauth, receive, ssf, status, statuslists
from workers.edge.http import application
from workers.edge.keys import Keys
from workers.edge.mtls import ClientCertificates, TLSProtocol
from workers.edge.readiness import Readiness


def build(settings: Settings) -> FastStream:
    """The application.  The socket is bound when it starts, so that an address in use ends the start and not the first request."""
    runtime = Runtime("edge", settings, answers_health=False)  # from outside FABRIC it asks; it cannot be asked
    serving: list[HTTPServer] = []
    certificates = ClientCertificates(settings) if settings.edge_mtls else None
    outbound = fetch.Ways(settings)

    async def start() -> None:
        bus = Bus(runtime.nc)
        await runtime.subscribe_plain(
            FETCH.filter, fetch.QUEUE, fetch.serve(runtime.nc, outbound, runtime.handle, lambda: runtime.in_flight)
        )
        routes = [
            *status.routes(Readiness(bus)),
            *jwks.routes(Keys(bus)),
            *statuslists.routes(statuslists.Lists(statuslists.BusLists(bus)), Keys(bus, "status")),
            *ssf.routes(bus, well_known_path(settings.ssf_base)),
            *receive.routes(bus),
            *oauth.routes(oauth_face(bus, settings, certificates)),
        ]
        bodies = {**ssf.BODIES, **receive.BODIES, **oauth.BODIES}
        place = Listening(settings.edge_host, settings.edge_port, settings.edge_cert, settings.edge_key)
        options = {"http": TLSProtocol, "ssl_context_factory": None if certificates is None else certificates.context}
        faces = application(routes, bodies, settings.edge_limits, settings.edge_proxies)
        server = HTTPServer(faces, place, lambda: runtime.fail("http_ended"), options, connections_of(settings))
        serving.append(server)
        if certificates is not None:
            runtime.spawn(certificates.follow(lambda: bus.keys("clients")), name="client_certificates")
        runtime.log.info(log.EDGE_LISTENED, host=settings.edge_host, port=server.port, tls=settings.edge_cert is not None)

    async def stop() -> None:
        for server in serving:
            await server.stop()
        await outbound.aclose()

    app = runtime.app(start=start, stop=stop)
    describe(app, FETCH, fetch.QUEUE, Fetch)
    return app


def oauth_face(bus: Bus, settings: Settings, certificates: ClientCertificates | None) -> oauth.Face:
    """With the methods of mutual TLS where this edge ends it."""
    limits = oauth.address_limits(settings.oauth_limits)
    if certificates is None:
        return oauth.Face(bus, settings.issuer, limits=limits)
    return oauth.Face(bus, settings.issuer, certificates.of, mtls=True, limits=limits)


def connections_of(settings: Settings) -> Connections:
    """How many connections it serves: of an address that is no trusted proxy's no more than its share."""
    proxies = tuple(ip_network(text) for text in settings.edge_proxies)
    return Connections(settings.edge_limits.connections, settings.edge_limits.connections_each, proxies)
