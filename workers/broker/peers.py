"""Brokers of one fabric help each other out with what lies sealed in only one of their folders.

What travels is ciphertext under the key-encryption key that all of them share; only the broker's credential may ask or listen on the
subject (streams.access).  On one machine they share the folder, and nobody has to ask.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NATSError

from schemas.sealed import ANSWERED, ASKED, SealedAnswer, SealedAsked
from streams.bus import HEADERS, Malformed, event, parse
from streams.subjects import SEALED

SOURCE = "/weft/broker"
DEADLINE_S = 1.0

Held = Callable[[SealedAsked], Awaitable[SealedAnswer | None]]


class Peers:
    """Asks and answers.  Every copy hears every question, the asker too; who does not have it stays silent."""

    def __init__(self, nc: Client, held: Held) -> None:
        self._nc = nc
        self._held = held

    async def ask(self, asked: SealedAsked) -> SealedAnswer | None:
        """The first answer; none where nobody has it, or nobody is there."""
        try:
            raw = await self._nc.request(SEALED.at(), event(ASKED, asked, source=SOURCE), timeout=DEADLINE_S, headers=HEADERS)
            answer = parse(SealedAnswer, raw.data)
        except (NATSError, TimeoutError, Malformed):
            return None
        return answer.data if answer.type == ANSWERED else None

    async def on_asked(self, msg: Msg) -> None:
        """Another broker asks."""
        try:
            asked = parse(SealedAsked, msg.data)
        except Malformed:
            return
        answer = await self._held(asked.data) if asked.type == ASKED and msg.reply else None
        if answer is not None:
            await self._nc.publish(msg.reply, event(ANSWERED, answer, source=SOURCE), headers=HEADERS)
