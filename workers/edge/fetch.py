"""HTTP requests that workers of FABRIC have the edge make (`schemas.fetching`): checked against `workers.common.outbound`, then sent.

Who may ask is the access table's to say; what the request is for, whoever asks says (`Fetch.use`).  Neither URL, headers nor bodies are
logged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.aio.msg import Msg

from config.settings import Settings
from schemas.fetching import FETCHED, Fetch, Fetched
from schemas.reasons import DenyReason
from streams.bus import HEADERS, Malformed, event, parse
from workers.common.outbound import Answer, Outbound, OutboundFailed, OutboundRefused, Rules
from workers.common.rpc import failure

SOURCE = "/weft/edge"
QUEUE = "edge"
MAX_IN_FLIGHT = 256


class Ways:
    """A pool of connections for each use: one that was opened to a network of one use is not there for another."""

    def __init__(self, settings: Settings) -> None:
        private = settings.outbound_private
        networks = {"metadata": private.metadata, "receivers": private.receivers, "transmitters": private.transmitters}
        self._of = {use: Outbound(Rules.of(allowed), ca=settings.outbound_ca) for use, allowed in networks.items()}

    def of(self, asked: Fetch) -> Outbound:
        """The pool for what is asked."""
        return self._of[asked.use]

    async def aclose(self) -> None:
        """Close every connection."""
        for outbound in self._of.values():
            await outbound.aclose()


async def fetched(ways: Ways, asked: Fetch) -> Fetched:
    """What came of it."""
    try:
        got = await ways.of(asked).request(
            asked.method,
            asked.url,
            headers=asked.headers,
            body=asked.body.encode(),
            deadline_s=asked.deadline_s,
            max_bytes=asked.max_bytes,
        )
        return _told(got)
    except OutboundRefused as refused:
        return Fetched(refused=str(refused))
    except OutboundFailed as failed:
        return Fetched.model_validate({"failed": failed.reason})


def _told(got: Answer) -> Fetched:
    try:
        return Fetched(status=got.status, headers=got.headers, body=got.body.decode())
    except UnicodeDecodeError:
        return Fetched(failed="not_text")


def serve(nc: Client, ways: Ways, start: Callable[..., object], in_flight: Callable[[], int]) -> Callable[[Msg], Awaitable[None]]:
    """The callback of the subscription; each request in a task of its own (`start`)."""

    async def reply(message: Msg) -> None:
        try:
            answer = event(FETCHED, await fetched(ways, parse(Fetch, message.data).data), source=SOURCE)
        except Malformed as error:
            answer = failure(DenyReason.MALFORMED, str(error), SOURCE)
        await nc.publish(message.reply, answer, headers=HEADERS)

    async def on_request(message: Msg) -> None:
        if not message.reply:
            return
        if in_flight() >= MAX_IN_FLIGHT:
            await nc.publish(
                message.reply, failure(DenyReason.TOO_MANY_IN_FLIGHT, "too many requests are in flight", SOURCE), headers=HEADERS
            )
        else:
            start(reply(message), name="fetch")

    return on_request
