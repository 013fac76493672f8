"""Background tasks with an owner: nothing runs that nobody cancels and awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

CANCEL_AGAIN_S = 0.2


class Tasks:
    """A set of tasks that ends with its owner.  A failure is told to `on_failure`, by task name, and never lost."""

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        self._on_failure = on_failure
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._running)

    def start(self, coro: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run it as a task of this set.  Raises RuntimeError once closed."""
        if self._closed:
            coro.close()
            raise RuntimeError("these tasks have ended")
        task = asyncio.create_task(coro, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task.get_name(), error)

    async def close(self, grace_s: float = 0) -> None:
        """Let what runs finish for `grace_s`, then cancel and await it."""
        self._closed = True
        if self._running and grace_s > 0:
            await asyncio.wait(self._running, timeout=grace_s)
        while self._running:  # again: a task group that fails while it is cancelled loses the cancellation
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running, timeout=CANCEL_AGAIN_S)
