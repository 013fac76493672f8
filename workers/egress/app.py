"""The egress, put together."""

from __future__ import annotations

import logging

from faststream import FastStream
from weft.guard import Guard

from config.settings import Settings
from streams.subjects import EGRESS_HEALTH
from workers.common import log
from workers.common.health import answer_health
from workers.common.httpserver import HTTPServer, Listening
from workers.common.outbound import Outbound, Rules
from workers.common.runtime import Runtime
from workers.egress.connection import EgressConnection
from workers.egress.releases import Releases
from workers.egress.service import Service

CHATTY = ("httpcore", "hpack", "h11")  # at DEBUG they write headers, and credentials are headers


def build(settings: Settings) -> FastStream:
    """The application.  It listens once its guard is current."""
    runtime = Runtime("egress", settings, answers_health=False)
    answer_health(runtime, EGRESS_HEALTH.at())
    outbound = Outbound(Rules.of(settings.outbound_private.upstreams), ca=settings.outbound_ca)
    started: list[HTTPServer | Guard] = []
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)

    async def start() -> None:
        connection = EgressConnection(runtime, settings.egress_id)
        guard = Guard(connection, None)
        await guard.start()
        started.append(guard)
        service = Service(guard, settings.egress, Releases(lambda: runtime.nc, connection.name), outbound)
        place = Listening(settings.egress_host, settings.egress_port, settings.egress_cert, settings.egress_key)
        server = HTTPServer(service, place, lambda: runtime.fail("http_ended"))
        started.append(server)
        runtime.fit = service.ready
        runtime.detail = lambda: {"tools": len(guard.tools)}
        runtime.log.info(log.EGRESS_LISTENED, host=settings.egress_host, port=server.port, tls=settings.egress_cert is not None)

    async def stop() -> None:
        for part in reversed(started):
            await part.stop()
        await outbound.aclose()

    return runtime.app(start=start, stop=stop)
