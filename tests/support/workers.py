"""Workers of the fabric against the server of a test: in this process as the supervisor runs them, or in one that can be killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from config.settings import Settings

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def running(build: Callable[[Settings], Any], settings: Settings) -> AsyncIterator[Any]:
    """One worker: its lifespan entered, its subscribers started, both undone."""
    app = build(settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.lifespan_context())
        stack.push_async_callback(app.stop)
        await app.start()
        yield app


@asynccontextmanager
async def process(worker: str, settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """One worker in a process of its own; killed at the end, if not before."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.workers", worker, settings.model_dump_json(), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    try:
        async with asyncio.timeout(20):
            while await child.stdout.readline() != b"ready\n":  # type: ignore[union-attr]
                if child.returncode is not None:
                    raise RuntimeError(f"{worker} ended with status {child.returncode}")
        yield child
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def _main(worker: str, settings: Settings) -> None:
    async with running(import_module(f"workers.{worker}.app").build, settings):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Settings.model_validate_json(sys.argv[2])))
