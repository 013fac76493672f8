"""Requests over the bus, answered: who called as the server attests it, the contract read, a typed refusal for everything else.

A FastStream subscriber hands each message to a task of its own, so that one slow call never blocks the next, and beyond `MAX_IN_FLIGHT`
refuses at once.  The handler sees verified callers and parsed events only.  What reaches it is described in AsyncAPI by its contract.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from schemas.base import Wire
from schemas.commands import FAILED
from schemas.envelope import CloudEvent
from schemas.points import Failure
from schemas.reasons import DenyReason
from streams.bus import HEADERS, Caller, CallerUnknown, Malformed, caller, event, parse
from streams.subjects import Subject
from workers.common import log
from workers.common.buckets import Buckets
from workers.common.raw import as_received
from workers.common.runtime import Runtime

MAX_IN_FLIGHT = 4096  # requests of one worker; what comes on top is refused instead of queued
DataT = TypeVar("DataT", bound=Wire)
Handler = Callable[[Caller, CloudEvent[DataT]], Awaitable[bytes | None]]
logger = structlog.get_logger()


class Refused(Exception):
    """A refusal; `detail` says which rule, and repeats nothing of the request."""

    def __init__(self, reason: DenyReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


async def answered(answer: Callable[[], Awaitable[bytes | None]], source: str) -> bytes | None:
    """The answer, or the event that says why there is none.  Never raises but to be cancelled."""
    try:
        return await answer()
    except Refused as refused:
        return failure(refused.reason, refused.detail, source)
    except Malformed as error:
        return failure(DenyReason.MALFORMED, str(error), source)
    except CallerUnknown as error:
        return failure(DenyReason.CALLER_UNKNOWN, str(error), source)
    except Exception as error:  # noqa: BLE001 - a bug denies, and says so in the log
        logger.error(log.REQUEST_FAILED, error=type(error).__name__)  # noqa: TRY400 - a trace may hold the request
        return failure(DenyReason.INTERNAL, "internal", source)


def failure(reason: DenyReason, detail: str, source: str) -> bytes:
    """`org.weft.failed.v1`."""
    return event(FAILED, Failure(reason=reason, detail=detail), source=source)


def serve(
    runtime: Runtime,
    family: Subject,
    model: type[DataT],
    handler: Handler[DataT],
    accounts: Mapping[str, str],
    *,
    queue: str = "",
    pace: Buckets | None = None,
) -> None:
    """Declare the subscriber.  `accounts` are names to public keys; without a `queue` every copy hears every message.

    `pace`: by subject, which the server lets one caller alone publish to.  What is beyond it is refused before it is read.
    """

    async def handle(msg: Msg) -> bytes | None:
        return await handler(caller(msg.headers, msg.subject, accounts), parse(model, msg.data))

    _serve(runtime, family, model, handle, queue=queue, pace=pace)


def serve_within(
    runtime: Runtime, family: Subject, model: type[DataT], handler: Callable[[CloudEvent[DataT]], Awaitable[bytes | None]], *, queue: str
) -> None:
    """The same between workers: who may ask is what `streams.access` says, and nobody outside FABRIC can."""

    async def handle(msg: Msg) -> bytes | None:
        return await handler(parse(model, msg.data))

    _serve(runtime, family, model, handle, queue=queue)


def _serve(
    runtime: Runtime,
    family: Subject,
    model: type[DataT],
    handle: Callable[[Msg], Awaitable[bytes | None]],
    *,
    queue: str,
    pace: Buckets | None = None,
) -> None:
    source = f"/weft/{runtime.worker}"

    async def reply(msg: Msg) -> None:
        await respond(runtime.nc, msg, await answered(lambda: handle(msg), source))

    async def on_request(msg: Any) -> None:
        if pace is not None and not pace.take(msg.subject):
            await respond(runtime.nc, msg, failure(DenyReason.RATE_LIMITED, "more than one caller may ask", source))
        elif runtime.in_flight >= MAX_IN_FLIGHT:
            await respond(runtime.nc, msg, failure(DenyReason.TOO_MANY_IN_FLIGHT, "too many requests are in flight", source))
        else:
            runtime.handle(reply(msg), name=family.prefix)

    on_request.__annotations__["msg"] = CloudEvent[model]  # type: ignore[valid-type]  # for AsyncAPI
    runtime.broker.subscriber(family.filter, queue=queue, decoder=as_received, no_reply=True, title=family.prefix)(on_request)


async def respond(nc: Client, msg: Msg, answer: bytes | None) -> None:
    """Where an answer is wanted, and there is one.  `Msg.respond` would send the request's own headers back."""
    if answer is not None and msg.reply:
        await nc.publish(msg.reply, answer, headers=HEADERS)
