"""A number that only grows, and those who wait for it."""

from __future__ import annotations

import asyncio


class Watermark:
    """`advance` is plain and cheap; `reached` waits without polling.  For one event loop."""

    def __init__(self, value: int = 0) -> None:
        self.value = value
        self._waiting: dict[asyncio.Future[None], int] = {}

    def advance(self, value: int) -> None:
        """Raise it, and wake those who waited for no more than that."""
        self.value = max(self.value, value)
        if self._waiting:
            for future, wanted in list(self._waiting.items()):
                if wanted <= self.value and not future.done():
                    future.set_result(None)

    async def reached(self, value: int, timeout_s: float) -> bool:
        """True once it is at least `value`; False when that took too long."""
        if self.value >= value:
            return True
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = value
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return self.value >= value
        finally:
            del self._waiting[future]
        return True
