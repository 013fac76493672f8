"""The edge, put together."""

from __future__ import annotations

from faststream import FastStream

from config.settings import Settings
from workers.common import log
from workers.common.runtime import Runtime
from workers.edge.bus import Bus
from workers.edge.http import application
from workers.edge.keys import Keys
from workers.edge.readiness import Readiness
from workers.edge.serving import HTTPServer


def build(settings: Settings) -> FastStream:
    """The application.  The socket is bound when it starts, so that an address in use ends the start and not the first request."""
    runtime = Runtime("edge", settings, answers_health=False)  # from outside FABRIC it asks; it cannot be asked
    serving: list[HTTPServer] = []

    async def start() -> None:
        bus = Bus(runtime.nc)
        server = HTTPServer(application(Readiness(bus), Keys(bus)), settings, lambda: runtime.fail("http_ended"))
        serving.append(server)
        runtime.log.info(log.EDGE_LISTENED, host=settings.edge_host, port=server.port, tls=settings.edge_cert is not None)

    async def stop() -> None:
        for server in serving:
            await server.stop()

    return runtime.app(start=start, stop=stop)
