"""One life of one worker in this process: its lifespan is entered, it starts, is ready, and stops.

`gather(app.run())` would let a signal stop only the last application, and `async with app` skips the lifespan (measured); so the
lifespan is entered here, by hand, and in this order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from config.settings import Settings
from workers.common.runtime import WorkerApp
from workers.supervisor.roster import build_of
from workers.supervisor.waiting import first_of

START_S = 15.0  # beside loading the views


async def live(worker: str, settings: Settings, stopping: asyncio.Event, on_ready: Callable[[WorkerApp], None]) -> bool:
    """Until `stopping` is set, or its end.  True where it ended by itself.  Raises whatever kept it from starting, TimeoutError too."""
    app = build_of(worker)(settings)
    if not isinstance(app, WorkerApp):
        raise TypeError(f"workers.{worker}.app.build must return what Runtime.app returns")
    async with AsyncExitStack() as stack:
        if await _started(app, stack, stopping):
            await _serve(app, stopping, on_ready)
    return app.ended.is_set()


async def _started(app: WorkerApp, stack: AsyncExitStack, stopping: asyncio.Event) -> bool:
    """Enters and starts it, in this task (its lifespan must be left where it was entered).  False where told to stop meanwhile."""
    task = asyncio.current_task()

    async def interrupt() -> None:
        await stopping.wait()
        if task is not None:
            task.cancel()

    interrupting = asyncio.create_task(interrupt())
    try:
        async with asyncio.timeout(START_S + app.runtime.settings.load_deadline_s):
            await stack.enter_async_context(app.lifespan_context())
            stack.push_async_callback(app.stop)
            await app.start()
    except asyncio.CancelledError:
        if task is None or not stopping.is_set():
            raise
        task.uncancel()
        return False
    finally:
        interrupting.cancel()
    return True


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
