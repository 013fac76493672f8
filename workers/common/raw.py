"""FastStream's decoder, told to leave messages alone: it decodes JSON by guess, and hides subject and headers (both count here)."""

from __future__ import annotations

from faststream.nats import NatsMessage
from nats.aio.msg import Msg


async def as_received(msg: NatsMessage) -> Msg:
    """The NATS message itself; its body is the handler's to parse."""
    return msg.raw_message
