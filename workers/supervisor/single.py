"""One worker in this process, as a container runs it: ends on SIGTERM, or by itself where it has to be built anew."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from config.settings import Settings
from workers.common import logsetup
from workers.common.runtime import WorkerApp
from workers.supervisor.life import live
from workers.supervisor.waiting import stop_signals

BEAT_S = 1.0


async def run(
    worker: str, settings: Settings, *, ready_fd: int | None = None, life_fd: int | None = None, alive: Path | None = None
) -> bool:
    """Until a signal, or its end.  True where it ended by itself: whoever started it starts it again."""
    logsetup.configure()
    stopping = stop_signals()
    if life_fd is not None:
        asyncio.get_running_loop().add_reader(life_fd, stopping.set)  # nothing is ever written to it: readable means closed

    def on_ready(app: WorkerApp) -> None:
        if ready_fd is not None:
            os.write(ready_fd, b"ready\n")
            os.close(ready_fd)
        if alive is not None:
            app.runtime.spawn(beat(app, alive), name="alive")

    return await live(worker, settings, stopping, on_ready)


async def beat(app: WorkerApp, file: Path) -> None:
    """Touches the file while the loop runs and the views are fresh: what a container's health check looks at."""
    while True:
        if app.runtime.views_fresh(app.runtime.clock.now()):
            file.touch()  # noqa: ASYNC240 - on tmpfs
        await asyncio.sleep(BEAT_S)
