"""A question over the bus, answered by whichever copy of a worker: its answer, its typed refusal, or nobody."""

from __future__ import annotations

from typing import TypeVar

import nats.errors
import orjson
from nats.aio.client import Client

from schemas.base import Wire
from schemas.commands import FAILED
from schemas.points import Failure
from streams.bus import HEADERS, Malformed, parse

AnswerT = TypeVar("AnswerT", bound=Wire)


class Unanswered(Exception):
    """Nobody answered in time, or not in form; nobody knows whether the question was heard."""


async def ask(nc: Client, subject: str, question: bytes, answered: str, model: type[AnswerT], *, deadline_s: float) -> AnswerT | Failure:
    """`question` is an event; the answer is one of type `answered`.  Raises Unanswered."""
    try:
        raw = (await nc.request(subject, question, timeout=deadline_s, headers=HEADERS)).data
        return read_answer(raw, answered, model)
    except (TimeoutError, nats.errors.Error, Malformed) as error:
        raise Unanswered(type(error).__name__) from None


def read_answer(raw: bytes, answered: str, model: type[AnswerT]) -> AnswerT | Failure:
    """Raises Malformed for what is neither."""
    try:
        kind = orjson.loads(raw)["type"]
    except (ValueError, LookupError, TypeError):
        raise Malformed("not an event") from None
    if kind == FAILED:
        return parse(Failure, raw).data
    if kind != answered:
        raise Malformed("another kind of answer")
    return parse(model, raw).data
