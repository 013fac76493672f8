"""Workers of the fabric in this process, as the supervisor runs them, against the server of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from config.settings import Settings


@asynccontextmanager
async def running(build: Callable[[Settings], Any], settings: Settings) -> AsyncIterator[Any]:
    """One worker: its lifespan entered, its subscribers started, both undone."""
    app = build(settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.lifespan_context())
        stack.push_async_callback(app.stop)
        await app.start()
        yield app
