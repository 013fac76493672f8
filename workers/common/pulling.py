"""A worker follows a durable consumer that the topology made: each message to the handler as it comes.

One message a fetch.  nats-py 2.16 asks for a batch twice: a probe, then a request that waits.  Where a request of before still waits at the
server, the answer to the next probe comes through that one, and the client goes on waiting for the rest of its batch: measured, up to 4.8 s
for the second of two messages after a pause (batch of 64; 0.1 s at most with one).  A signal must not wait for company, so what is to be
done at once is done by several subscriptions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from faststream.nats import JStream, PullSub

from streams.subjects import worker_inbox
from workers.common.raw import as_received
from workers.common.runtime import Runtime

Handler = Callable[[Any], Awaitable[None]]


def follow(runtime: Runtime, consumer: tuple[str, str], subject: str, handler: Handler, data: Any, *, at_once: int = 1) -> None:
    """`consumer`: its stream and name.  `data`: what AsyncAPI says of a message.  `at_once`: how many are handled at the same time.

    With one at a time they are handled in order.
    """
    for number in range(at_once):
        _subscribe(runtime, consumer, subject, handler, data, described=number == 0)


def _subscribe(runtime: Runtime, consumer: tuple[str, str], subject: str, handler: Handler, data: Any, *, described: bool) -> None:
    stream, durable = consumer

    async def on_message(msg: Any) -> None:
        await handler(msg)

    on_message.__annotations__["msg"] = data
    runtime.broker.subscriber(
        subject,
        stream=JStream(stream, declare=False),
        durable=durable,
        pull_sub=PullSub(batch_size=1),
        inbox_prefix=f"{worker_inbox(runtime.worker)}.".encode(),  # FastStream ignores the broker's
        decoder=as_received,
        no_reply=True,
        title=durable,
        include_in_schema=described,
    )(on_message)
