"""One request, one answer (design 5): the same id and digest yields the same grant, the same id with another digest is refused.

This memory serves retries to the same broker and joins those that come while the first is still on its way.  It is a shortcut: what
makes the rule hold over restarts and between brokers is the id of the record (`mint`).  A refusal is not kept, since nothing was
released and the reason may pass; which digest an id stands for is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from schemas.invocation import Granted
from schemas.reasons import DenyReason
from workers.common.requests import RequestRefused

MAX_REMEMBERED = 8192  # about 4 KB each; at 4,000 a second two seconds, within which nearly every retry comes


class _Held:
    __slots__ = ("digest", "granted", "running")

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.granted: Granted | None = None
        self.running: asyncio.Future[Granted] | None = None


class Once:
    """By caller and request id."""

    def __init__(self, size: int = MAX_REMEMBERED) -> None:
        self._size = size
        self._held: dict[str, _Held] = {}

    async def answer(self, key: str, digest: str, make: Callable[[], Awaitable[Granted]]) -> Granted:
        """The grant of this request, made now or before.  Raises what `make` raises, and RequestRefused for another digest."""
        held = self._held.get(key)
        if held is None:
            held = self._hold(key, digest)
        elif held.digest != digest:
            raise RequestRefused(DenyReason.REQUEST_REUSED, "the id was used for another request")
        if held.granted is not None:
            return held.granted
        if held.running is not None:
            return await asyncio.shield(held.running)
        return await self._make(held, make)

    async def _make(self, held: _Held, make: Callable[[], Awaitable[Granted]]) -> Granted:
        running = held.running = asyncio.get_running_loop().create_future()
        try:
            held.granted = await make()
            running.set_result(held.granted)
        except asyncio.CancelledError:
            running.set_exception(RequestRefused(DenyReason.DEADLINE_EXCEEDED, "the first of these requests was given up"))
            raise
        except Exception as error:
            running.set_exception(error)
            raise
        finally:
            held.running = None
            running.exception()  # perhaps nobody else waits
        return held.granted

    def _hold(self, key: str, digest: str) -> _Held:
        if len(self._held) >= self._size:
            del self._held[next(iter(self._held))]
        held = self._held[key] = _Held(digest)
        return held
