"""Action receipts on their way back to the transmitter whose signal they answer.

No specification has an endpoint for them (SSF issue 322 is an idea); ours is the `receipts_endpoint` of the transmitter's fact.

A POST with the receipt as it stands on RECORD, a compact JWS, as `application/weft-receipt+jwt`; its signature is all that vouches for it.
Any 2xx takes it.  What is retried, for how long, and what counts as a refusal is as with SETs that we push (`transmitter.push`).

All transmitters share one consumer.  While one of them does not answer, its receipts are not tried, so that nobody else's wait for it; of
those that wait `MOST_HELD` are delivered again, and the others stand on RECORD alone.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NATSError

from schemas.facts import Transmitter
from schemas.fetching import Fetch, Fetched
from schemas.record import RECEIPTED, RESPONDED, Receipted, Responded
from streams.bus import Malformed, parse
from workers.common import log
from workers.common.clock import Clock
from workers.common.fetching import FetchUnavailable
from workers.signals.held import Held
from workers.signals.transmitter.ports import Fetches
from workers.signals.transmitter.push import REQUEST_S, Delivered, GivenUp, Retry, judge

MEDIA = "application/weft-receipt+jwt"
ACK_S = 2.0
MOST_HELD = 256  # of one transmitter; the consumer hands out 4096 that are not acknowledged (streams.topology)
AWAY_S = 30.0  # at most, until one of its receipts is tried again
_MODELS: dict[str, type[Responded | Receipted]] = {RESPONDED: Responded, RECEIPTED: Receipted}
logger = structlog.get_logger()


class Returning:
    """One message at a time."""

    def __init__(self, transmitter_of: Callable[[str], Transmitter | None], fetches: Fetches, clock: Clock) -> None:
        self._transmitter_of = transmitter_of
        self._fetches = fetches
        self._clock = clock
        self._away: dict[str, float] = {}  # until when nothing is tried
        self._held = Held(MOST_HELD)

    async def on_message(self, msg: Msg) -> None:
        """Never raises but to be cancelled."""
        try:
            told = _told(msg.data)
            verdict = await self._verdict(msg, told)
            seq = msg.metadata.sequence.stream
            if isinstance(verdict, Retry):
                if told is not None and self._held.may_wait(told.iss, seq):
                    await msg.nak(delay=verdict.delay_s)
                    return
                verdict = GivenUp("unreachable", f"{MOST_HELD} receipts of this transmitter wait already", abandoned=True)
            if isinstance(verdict, GivenUp):
                logger.warning(log.RECEIPT_UNDELIVERED, err=verdict.err, detail=verdict.detail)
            await msg.ack_sync(timeout=ACK_S)
            self._held.settled(seq)
        except NATSError:
            return  # delivered again

    async def _verdict(self, msg: Msg, told: Responded | Receipted | None) -> Delivered | Retry | GivenUp:
        if told is None or not told.deliver or told.receipt is None:
            return Delivered()
        sender = self._transmitter_of(told.iss)
        if sender is None or sender.state != "active" or sender.receipts_endpoint is None:
            return Delivered()  # nobody to tell: it stands on RECORD
        now = self._clock.now()
        waited_s = now - msg.metadata.timestamp.timestamp()
        if now < self._away.get(sender.iss, 0.0):
            return judge(None, msg.metadata.num_delivered, waited_s)
        verdict = judge(await self._send(sender.receipts_endpoint, told.receipt), msg.metadata.num_delivered, waited_s)
        if isinstance(verdict, Retry):
            self._away[sender.iss] = self._clock.now() + min(verdict.delay_s, AWAY_S)
        else:
            self._away.pop(sender.iss, None)
        return verdict

    async def _send(self, url: str, receipt: str) -> Fetched | None:
        headers = (("Content-Type", MEDIA), ("Accept", "application/json"))
        try:
            return await self._fetches.fetch(
                Fetch(use="transmitters", method="POST", url=url, headers=headers, body=receipt, deadline_s=REQUEST_S)
            )
        except FetchUnavailable:
            return None


def _told(body: bytes) -> Responded | Receipted | None:
    """Either event; none for whatever else this worker records."""
    for type_, model in _MODELS.items():
        try:
            said = parse(model, body)
        except Malformed:
            continue
        if said.type == type_:
            return said.data
    return None
