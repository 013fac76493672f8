"""Polls a stream, RFC 8936 section 2: fetch, have each SET stored, acknowledge with the next request.

A SET that is good and stored is acknowledged, one that is not good is reported in `setErrs` (section 2.6), one that could not be stored is
neither, so that the transmitter gives it again.  What was not acknowledged because an answer was lost comes again and is stored once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from schemas.facts import Subscription
from schemas.points import SetAnswer
from workers.common import log
from workers.common.rpc import Refused
from workers.signals.receiver.remote import Remote, RemoteFailed, RemoteStream

MAX_EVENTS = 20  # fewer where so many are more than MAX_BYTES
DEADLINE_S = 8.0  # of one poll; a transmitter that holds it longer is asked again
MAX_BYTES = 131_072
SET_S = 0.01  # in the long run; whoever offers the same ones again and again keeps nobody else waiting
PAUSE_S = 0.5  # after an empty answer that came at once: some transmitters hold no poll
Accept = Callable[[str, Subscription], Awaitable[SetAnswer]]
logger = structlog.get_logger()


class Poller:
    """`run` until a time."""

    def __init__(self, remote: Remote, accept: Accept) -> None:
        self._remote = remote
        self._accept = accept

    async def run(self, of: Subscription, stream: RemoteStream, for_s: float) -> None:
        """For about that long.  Raises RemoteFailed, NotAuthorized."""
        if stream.endpoint_url is None:
            raise RemoteFailed("the stream has no endpoint to poll")
        loop = asyncio.get_running_loop()
        until = loop.time() + for_s
        most = MAX_EVENTS
        settling: dict[str, Any] = {}
        while (more := loop.time() < until) or settling:
            began = loop.time()
            try:
                sets = await self._poll(of, stream.endpoint_url, most if more else 0, settling)
            except RemoteFailed as failed:
                if failed.failed != "too_large" or most == 1:
                    raise
                most //= 2  # what was to be settled was settled, or is again
                continue
            if not more:
                return  # what it sends for all that was not asked for
            waited = bool(settling) or loop.time() - began >= PAUSE_S
            acks, errors, held_back = await self._take(of, sets)
            settling = {**({"ack": acks} if acks else {}), **({"setErrs": errors} if errors else {})}
            if held_back or not (sets or waited):  # whatever `moreAvailable` says: what is there was given
                await asyncio.sleep(PAUSE_S)
            await asyncio.sleep(began + len(sets) * SET_S - loop.time())

    async def _poll(self, of: Subscription, url: str, most: int, settling: dict[str, Any]) -> dict[str, str]:
        asked = {"maxEvents": most, "returnImmediately": bool(settling), **settling}
        try:
            said = await self._remote.poll(of, url, asked, DEADLINE_S, MAX_BYTES)
        except RemoteFailed as failed:
            if not settling and failed.failed == "timeout":
                return {}  # it held the poll for longer than we wait
            raise
        sets = said.get("sets")
        if not isinstance(sets, dict) or not all(isinstance(one, str) for one in sets.values()):
            raise RemoteFailed("the answer to a poll holds no sets")
        return sets

    async def _take(self, of: Subscription, sets: dict[str, str]) -> tuple[list[str], dict[str, dict[str, str]], bool]:
        acks: list[str] = []
        errors: dict[str, dict[str, str]] = {}
        held_back = False
        for jti, unverified in sets.items():
            try:
                answer = await self._accept(unverified, of)
            except Exception as error:  # noqa: BLE001 - a bug is no reason to lose it, or the stream
                held_back = True
                if not isinstance(error, Refused):
                    logger.error(log.REQUEST_FAILED, what="polled", error=type(error).__name__)  # noqa: TRY400 - a trace may hold the SET
                continue
            if answer.accepted:
                acks.append(jti)
            else:
                errors[jti] = {"err": str(answer.err), "description": answer.description or ""}
        return acks, errors, held_back
