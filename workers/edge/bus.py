"""What the edge asks over the bus: the workers' health, the public keys, and whatever else a face has to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Literal, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from schemas import health, keys, oauth
from schemas.base import Wire
from schemas.health import Asked, Health
from schemas.points import Failure
from streams.bus import HEADERS, Malformed, event, parse
from streams.subjects import EDGE_KEYS, EGRESS_HEALTH, HEALTH, OAUTH
from workers.common.asking import Unanswered, ask
from workers.edge.keys import KeysUnavailable

SOURCE = "/weft/edge"
KEYS_DEADLINE_S = 2.0
DEADLINE_S = 5.0
AnswerT = TypeVar("AnswerT", bound=Wire)


class Bus:
    """Every question with a deadline."""

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
                        await self._nc.publish(
                            EGRESS_HEALTH.at() if worker == "egress" else HEALTH.at(worker), question, reply=inbox, headers=HEADERS
                        )
                    await enough.wait()
                finally:
                    await subscription.unsubscribe()
        except (TimeoutError, nats.errors.Error):
            return answers
        return answers

    async def ask(
        self, subject: str, type_: str, question: Wire, answered: str, model: type[AnswerT], *, deadline_s: float = DEADLINE_S
    ) -> AnswerT | Failure:
        """The answer of the worker whose business that is, or its typed refusal.  Raises Unanswered: 503 to the HTTP caller."""
        return await ask(self._nc, subject, event(type_, question, source=SOURCE), answered, model, deadline_s=deadline_s)

    async def oauth(self, asked: oauth.Asked) -> oauth.Answered:
        """What the broker answers a request of the OAuth face.  Raises Unanswered."""
        found = await self.ask(OAUTH.at(), oauth.ASKED, asked, oauth.ANSWERED, oauth.Answered)
        if isinstance(found, Failure):
            raise Unanswered("refused")
        return found

    async def keys(self, purpose: Literal["tokens", "status", "clients"] = "tokens") -> keys.JWKSet:
        """The public keys of that purpose.  Raises KeysUnavailable."""
        asked = keys.KeysAsked(purpose=purpose)
        try:
            found = await self.ask(EDGE_KEYS.at(), keys.ASKED, asked, keys.ANSWERED, keys.JWKSet, deadline_s=KEYS_DEADLINE_S)
        except Unanswered as error:
            raise KeysUnavailable(str(error)) from None
        if isinstance(found, Failure):
            raise KeysUnavailable("refused")
        return found
