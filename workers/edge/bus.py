"""What the edge asks over the bus: the workers' health, and the public keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from schemas import health, keys
from schemas.health import Asked, Health
from streams.bus import HEADERS, Malformed, event, parse
from streams.subjects import EDGE_KEYS, HEALTH
from workers.edge.keys import KeysUnavailable

SOURCE = "/weft/edge"
KEYS_DEADLINE_S = 2.0


class Bus:
    """Both questions, each with a deadline."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def health(self, workers: Iterable[str], deadline_s: float) -> list[Health]:
        """Every copy answers for itself, on one inbox; done once each worker has a ready copy, or at the deadline."""
        answers: list[Health] = []
        missing = set(workers)
        enough = asyncio.Event()

        async def on_answer(message: Msg) -> None:
            try:
                answer = parse(Health, message.data).data
            except Malformed:
                return
            answers.append(answer)
            if answer.ready:
                missing.discard(answer.worker)
            if not missing:
                enough.set()

        inbox = self._nc.new_inbox()
        question = event(health.ASKED, Asked(canary=True), source=SOURCE)
        try:
            async with asyncio.timeout(deadline_s):
                subscription = await self._nc.subscribe(inbox, cb=on_answer)
                try:
                    for worker in tuple(missing):
                        await self._nc.publish(HEALTH.at(worker), question, reply=inbox, headers=HEADERS)
                    await enough.wait()
                finally:
                    await subscription.unsubscribe()
        except (TimeoutError, nats.errors.Error):
            return answers
        return answers

    async def keys(self) -> keys.JWKSet:
        """The public keys of tokens.  Raises KeysUnavailable."""
        try:
            answer = await self._nc.request(
                EDGE_KEYS.at(), event(keys.ASKED, keys.KeysAsked(), source=SOURCE), timeout=KEYS_DEADLINE_S, headers=HEADERS
            )
            found = parse(keys.JWKSet, answer.data)
        except (TimeoutError, nats.errors.Error, Malformed) as error:
            raise KeysUnavailable(type(error).__name__) from None
        if found.type != keys.ANSWERED:
            raise KeysUnavailable("refused")
        return found.data
