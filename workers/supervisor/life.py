"""One life of one worker in this process: its lifespan is entered, it starts, is ready, and stops.

`gather(app.run())` would let a signal stop only the last application, and `async with app` skips the lifespan (measured); so the
lifespan is entered here, by hand, and in this order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from config.settings import Settings
from workers.common.runtime import WorkerApp
from workers.supervisor.roster import build_of
from workers.supervisor.waiting import first_of


async def live(worker: str, settings: Settings, stopping: asyncio.Event, on_ready: Callable[[WorkerApp], None]) -> bool:
    """Until `stopping` is set, or its end.  True where it ended by itself.  Raises whatever kept it from starting."""
    app = build_of(worker)(settings)
    if not isinstance(app, WorkerApp):
        raise TypeError(f"workers.{worker}.app.build must return what Runtime.app returns")
    async with app.lifespan_context():
        try:
            await app.start()
            await _serve(app, stopping, on_ready)
        finally:
            await app.stop()
    return app.ended.is_set()


async def _serve(app: WorkerApp, stopping: asyncio.Event, on_ready: Callable[[WorkerApp], None]) -> None:
    async def watch() -> None:
        await app.runtime.wait_current()
        on_ready(app)

    watching = asyncio.create_task(watch())
    try:
        await first_of(stopping, app.ended)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
