"""One worker in this process, as a container runs it: ends on SIGTERM, or by itself where it has to be built anew."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

from config.settings import Settings
from workers.common import logsetup
from workers.common.runtime import WorkerApp
from workers.supervisor.life import live
from workers.supervisor.waiting import stop_signals

BEAT_S = 1.0
BEHIND = frozenset(("audit",))  # nobody's call waits for these: they take the processor when the others leave it
NICE = 10  # of the worker that nobody on the way of a call waits for: on a machine that is full it gets a tenth of what the others do
GC_THRESHOLDS = (20_000, 20, 20)  # Python's 700 is a collection every second call


async def run(
    worker: str, settings: Settings, *, ready_fd: int | None = None, life_fd: int | None = None, alive: Path | None = None
) -> bool:
    """Until a signal, or its end.  True where it ended by itself: whoever started it starts it again."""
    logsetup.configure()
    if worker in BEHIND:
        os.nice(NICE)
    stopping = stop_signals()
    if life_fd is not None:
        asyncio.get_running_loop().add_reader(life_fd, stopping.set)  # nothing is ever written to it: readable means closed

    def on_ready(app: WorkerApp) -> None:
        spare_collections()
        if ready_fd is not None:
            os.write(ready_fd, b"ready\n")
            os.close(ready_fd)
        if alive is not None:
            app.runtime.spawn(beat(app, alive), name="alive")

    return await live(worker, settings, stopping, on_ready)


def spare_collections() -> None:
    """What was loaded stays, so the collector need not look at it again; and a call's objects are freed by their counts, not by it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def beat(app: WorkerApp, file: Path) -> None:
    """Touches the file while the loop runs and the views are fresh: what a container's health check looks at."""
    while True:
        if app.runtime.views_fresh(app.runtime.clock.now()):
            file.touch()  # noqa: ASYNC240 - on tmpfs
        await asyncio.sleep(BEAT_S)
