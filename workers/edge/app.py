"""The edge, put together."""

from __future__ import annotations

from faststream import FastStream

from config.settings import Settings
from schemas.fetching import Fetch
from schemas.ssf import well_known_path
from streams.subjects import FETCH
from workers.common import log
from workers.common.described import describe
from workers.common.outbound import Outbound, Rules
from workers.common.runtime import Runtime
from workers.edge import fetch
from workers.edge.bus import Bus
from workers.edge.faces import jwks, oauth, ssf, status, statuslists
from workers.edge.http import application
from workers.edge.keys import Keys
from workers.edge.readiness import Readiness
from workers.edge.serving import HTTPServer


def build(settings: Settings) -> FastStream:
    """The application.  The socket is bound when it starts, so that an address in use ends the start and not the first request."""
    runtime = Runtime("edge", settings, answers_health=False)  # from outside FABRIC it asks; it cannot be asked
    serving: list[HTTPServer] = []
    outbound = Outbound(Rules.of(settings.outbound_private), ca=settings.outbound_ca)

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
            *oauth.routes(oauth.Face(bus, settings.issuer)),
        ]
        server = HTTPServer(application(routes, {**ssf.BODIES, **oauth.BODIES}), settings, lambda: runtime.fail("http_ended"))
        serving.append(server)
        runtime.log.info(log.EDGE_LISTENED, host=settings.edge_host, port=server.port, tls=settings.edge_cert is not None)

    async def stop() -> None:
        for server in serving:
            await server.stop()
        await outbound.aclose()

    app = runtime.app(start=start, stop=stop)
    describe(app, FETCH, fetch.QUEUE, Fetch)
    return app
