"""`weft up`: a whole fabric on one machine.

The order is: the folder, the server (or servers), streams and first facts, every worker, one line that says it is up.  A signal stops
all in the reverse order.  A worker that ends is built anew with backoff; so is a server, on the port it had.  Nothing here listens
beyond loopback without TLS: the settings refuse it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from config.settings import Settings
from streams.bus import PublishFailed
from streams.server import ServerFailed
from streams.topology import TopologyRefused, TopologyUnavailable
from workers.common import log, logsetup
from workers.supervisor.bootstrap import bootstrap
from workers.supervisor.files import create_files, owned
from workers.supervisor.keeper import STOP_S, InProcess, Keeper, OwnProcess
from workers.supervisor.roster import ISSUER, WORKERS
from workers.supervisor.servers import MAX_REPLICAS, running, servers_of, urls_of, write_confs
from workers.supervisor.waiting import first_of, free_port, stop_signals

READY_S = 45.0  # beside loading the views
BOOTSTRAP_DEADLINE_S = 30.0
EGRESS_PORT = 8444
logger = structlog.get_logger()

Ready = Callable[[dict[str, str]], None]


@dataclass(frozen=True, slots=True)
class Options:
    """As the command line gives them."""

    state: Path
    port: int = 4222
    edge_port: int = 8443
    egress_port: int | None = None  # none: 8444, or any where the edge has any
    trust_domain: str | None = None
    processes: bool = False
    copies: int = 1
    servers: int | None = None  # none: as many as the folder has, one for a new one


class Trouble(Exception):
    """The fabric is not up; the text says which part."""


async def up(options: Options, on_ready: Ready) -> None:
    """Until SIGTERM or SIGINT.  Raises SettingsError, FolderInUse, Trouble."""
    logsetup.configure()
    try:
        await _up(options, on_ready)
    except (ServerFailed, TopologyRefused, TopologyUnavailable, PublishFailed) as error:
        raise Trouble(str(error)) from None
    except TimeoutError:
        raise Trouble(f"streams and first facts were not written within {BOOTSTRAP_DEADLINE_S:.0f} s") from None


async def _up(options: Options, on_ready: Ready) -> None:
    stopping = stop_signals()
    with owned(options.state):
        count = servers_of(options.state, options.servers)
        settings = prepare(options, count)
        async with running(write_confs(settings, count), options.port) as servers:
            settings = create_files(options.state, {"servers": urls_of(servers, settings)})
            async with asyncio.timeout(BOOTSTRAP_DEADLINE_S):
                await bootstrap(settings)
            await run_workers(settings, options, stopping, on_ready)
    logger.info(log.FABRIC_STOPPED)


def prepare(options: Options, servers: int = 1) -> Settings:
    """The folder, with what the command line says in `fabric.json`."""
    egress_port = options.egress_port if options.egress_port is not None else EGRESS_PORT if options.edge_port else 0
    changes: dict[str, object] = {"edge_port": options.edge_port or free_port(), "egress_port": egress_port or free_port()}
    if options.trust_domain is not None:
        changes["trust_domain"] = options.trust_domain
    if servers > 1:
        changes["replicas"] = min(servers, MAX_REPLICAS)
    return create_files(options.state, changes)


async def run_workers(settings: Settings, options: Options, stopping: asyncio.Event, on_ready: Ready) -> None:
    """Starts every copy at once, waits until all are ready, says so, and stops them in order."""
    keepers = [keeper(worker, copy, settings, options) for worker, copies in roster(settings, options) for copy in range(copies)]
    tasks = {kept: asyncio.create_task(kept.keep(), name=f"{kept.worker}-{kept.copy}") for kept in keepers}
    try:
        await all_ready(keepers, stopping, READY_S + settings.load_deadline_s)
        if not stopping.is_set():
            logger.info(log.FABRIC_STARTED, workers=len(keepers))
            on_ready(
                {"servers": ",".join(settings.servers), "dir": str(settings.state), "edge": edge_url(settings), "egress": settings.egress}
            )
            await stopping.wait()
    finally:
        for kept in reversed(keepers):
            kept.stop()
            with contextlib.suppress(TimeoutError):  # cancelled then
                async with asyncio.timeout(2 * STOP_S + 1):
                    await tasks[kept]


def keeper(worker: str, copy: int, settings: Settings, options: Options) -> Keeper:
    """In this process, or in one of its own."""
    return OwnProcess(worker, copy, settings.state) if options.processes else InProcess(worker, copy, settings)


def roster(settings: Settings, options: Options) -> Iterator[tuple[str, int]]:
    """Every worker and how many of it.  The development issuer is one, it owns a socket; a production fabric has none."""
    if settings.mode == "development":
        yield ISSUER, 1
    for worker in WORKERS:
        yield worker, options.copies


async def all_ready(keepers: list[Keeper], stopping: asyncio.Event, within_s: float) -> None:
    """Returns early when told to stop.  Raises Trouble."""
    ready = asyncio.Event()

    async def wait() -> None:
        for kept in keepers:
            await kept.ready.wait()
        ready.set()

    waiting = asyncio.create_task(wait())
    try:
        async with asyncio.timeout(within_s):
            await first_of(ready, stopping)
    except TimeoutError:
        late = ", ".join(f"{kept.worker}" for kept in keepers if not kept.ready.is_set())
        raise Trouble(f"not ready within {within_s:.0f} s: {late}") from None
    finally:
        waiting.cancel()


def edge_url(settings: Settings) -> str:
    """Where the edge listens."""
    scheme = "https" if settings.edge_cert else "http"
    return f"{scheme}://{settings.edge_host}:{settings.edge_port}"
