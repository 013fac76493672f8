"""The nats-servers of `weft up`: one, or several on this machine with every stream replicated (R3, design section 2).

Several share one disk and one power supply: they show how a fabric behaves while a server is lost, and keep nothing that one disk loses.
A stream does not move between the two forms by itself, so a folder keeps the number it began with.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from config.settings import Settings, SettingsError, loopback
from streams.operator import create_operator, node_of
from streams.secretfile import write_secret
from streams.server import Server, ServerFailed
from streams.serverconf import Cluster, render
from workers.common import log
from workers.supervisor.backoff import Backoff
from workers.supervisor.orphan import end_orphan, remember
from workers.supervisor.waiting import free_ports

MAX_REPLICAS = 3
logger = structlog.get_logger()


def servers_of(state: Path, asked: int | None) -> int:
    """How many: what is asked of a new folder, what an old one has.  Raises SettingsError where the two differ."""
    held = _held(state / "nats")
    if asked is not None and held not in {0, asked}:
        raise SettingsError(f"{state} holds the streams of {held} server(s): {asked} need a folder of their own (weft up --dir OTHER)")
    return asked or held or 1


def _held(folder: Path) -> int:
    """How many servers have stored something here."""
    several = sum(1 for _ in folder.glob("n*/js"))
    return several or int((folder / "js").exists())


def write_confs(settings: Settings, count: int) -> tuple[Path, ...]:
    """Each server's configuration.  A single one's stands where `create_files` put it; routes are on any free ports, anew at each start."""
    folder = settings.state / "nats"
    if count == 1:
        return (folder / "server.conf",)
    jwts, ports = create_operator(settings.state, settings).jwts, free_ports(count)
    routes = tuple(f"nats-route://127.0.0.1:{port}" for port in ports)
    confs = []
    for name, port in zip((f"n{number}" for number in range(1, count + 1)), ports, strict=True):
        node = node_of(settings, name=name, store=folder / name / "js", cluster=Cluster("weft", port, routes))
        write_secret(folder / name / "server.conf", render(jwts, node).encode())
        confs.append(folder / name / "server.conf")
    return tuple(confs)


@contextlib.asynccontextmanager
async def running(confs: Sequence[Path], port: int) -> AsyncIterator[tuple[Server, ...]]:
    """All of them, each started again whenever it ends.  The first on `port`, the others after it (0: any).  Raises ServerFailed."""
    servers = tuple(Server(conf, port=port and port + number) for number, conf in enumerate(confs))
    async with contextlib.AsyncExitStack() as stack:
        for conf in confs:
            await end_orphan(conf)
        for server in servers:
            stack.push_async_callback(server.stop)
        await asyncio.gather(*(server.start() for server in servers))
        for server, conf in zip(servers, confs, strict=True):
            await stack.enter_async_context(_kept(server, conf))
        yield servers


def urls_of(servers: Sequence[Server], settings: Settings) -> tuple[str, ...]:
    """Where clients find them: on this machine, or at the host that the settings name."""
    host = urlsplit(settings.servers[0]).hostname or "127.0.0.1"
    return tuple(server.url if loopback(host) else f"tls://{host}:{server.port}" for server in servers)


@contextlib.asynccontextmanager
async def _kept(server: Server, conf: Path) -> AsyncIterator[None]:
    keeping = asyncio.create_task(keep_server(server, conf), name=f"nats-server {conf.parent.name}")
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def keep_server(server: Server, conf: Path) -> None:
    """Until cancelled."""
    backoff = Backoff()
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        remember(conf, server.pid)
        await server.ended.wait()
        delay_s = backoff.after(loop.time() - began)
        logger.error(log.SERVER_ENDED, server=conf.parent.name, delay_s=round(delay_s, 2))
        await asyncio.sleep(delay_s)
        began = loop.time()
        with contextlib.suppress(ServerFailed):  # `ended` is set again, and the next delay is longer
            await server.start()
