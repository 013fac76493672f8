"""The messages between gateway and broker, `schemas.minting`, without reading or writing again what did not change.

The gateway writes a decision once while it is kept; the broker reads it once while its bytes are the same; a grant passes through the
gateway as the broker wrote it.  Everything is checked once: the outer members by msgspec, which leaves the inner ones as the bytes they
are, those by their models.  `tests/unit/common/test_minting.py` holds both directions to the contract.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

import msgspec
import orjson
from pydantic import ValidationError

from schemas.decision import Decision
from schemas.invocation import InvocationRequest
from schemas.minting import MAX_TOGETHER, MINT, MINTED, MintAnswer, MintRequest
from schemas.reasons import DenyReason
from streams.bus import Malformed, event_of
from workers.common.derived import Derived

decision_json = Derived(Decision.wire)


class Answered(NamedTuple):
    """The broker's answer: a grant as its JSON, or a reason."""

    granted: bytes | None
    refused: DenyReason | None = None
    needs: str | None = None


class _Quiet(msgspec.Struct):
    """Shows nothing of itself: its members are messages, and hold tokens."""

    def __repr__(self) -> str:
        return type(self).__name__


class _Request(_Quiet, forbid_unknown_fields=True):
    request: msgspec.Raw
    caller: str
    received_at: int
    decision: msgspec.Raw
    explanation: str
    deadline: float
    traceparent: str | None = None


class _Requests(_Quiet, forbid_unknown_fields=True):
    requests: Annotated[list[_Request], msgspec.Meta(min_length=1, max_length=MAX_TOGETHER)]


class _Asked(_Quiet):
    specversion: Literal["1.0"]
    type: Literal["org.weft.mint.requested.v2"]
    data: _Requests


class _Answer(_Quiet, forbid_unknown_fields=True):
    granted: msgspec.Raw = msgspec.Raw()
    refused: DenyReason | None = None
    needs: str | None = None


class _Answers(_Quiet, forbid_unknown_fields=True):
    answers: Annotated[list[_Answer], msgspec.Meta(min_length=1, max_length=MAX_TOGETHER)]


class _Minted(_Quiet):
    specversion: Literal["1.0"]
    type: Literal["org.weft.mint.answered.v2"]
    data: _Answers


_ASKED = msgspec.json.Decoder(_Asked)
_MINTED = msgspec.json.Decoder(_Minted)


def request_json(mint: MintRequest) -> bytes:
    """One request, as it stands among others."""
    request = {
        "request": orjson.Fragment(mint.request.wire()),
        "caller": mint.caller,
        "received_at": mint.received_at,
        "decision": orjson.Fragment(decision_json(mint.decision)),
        "explanation": mint.explanation,
        "deadline": mint.deadline,
    }
    if mint.traceparent is not None:
        request["traceparent"] = mint.traceparent
    return orjson.dumps(request)


def requests_event(requests: Iterable[bytes], source: str) -> bytes:
    """The message that holds these."""
    return event_of(MINT, orjson.dumps({"requests": [orjson.Fragment(request) for request in requests]}), source=source)


def read_requests(body: bytes) -> list[MintRequest | None]:
    """The requests of a message; one whose inner parts break a rule is none.  Raises Malformed where the message itself does."""
    try:
        asked = _ASKED.decode(body)
    except msgspec.MsgspecError as error:
        raise Malformed(type(error).__name__) from None
    return [_request(one) for one in asked.data.requests]


def _request(sent: _Request) -> MintRequest | None:
    try:
        return MintRequest(
            request=InvocationRequest.model_validate_json(bytes(sent.request)),
            caller=sent.caller,
            received_at=sent.received_at,
            decision=_decision(bytes(sent.decision)),
            explanation=sent.explanation,
            deadline=sent.deadline,
            traceparent=sent.traceparent,
        )
    except ValidationError:
        return None


@lru_cache(maxsize=1024)
def _decision(raw: bytes) -> Decision:
    """Read once: a gateway says the same of all calls that an agent makes to a tool until a fact moves."""
    return Decision.model_validate_json(raw)


def answers_event(answers: Iterable[MintAnswer], source: str) -> bytes:
    """The message that answers them."""
    return event_of(MINTED, orjson.dumps({"answers": [orjson.Fragment(answer.wire()) for answer in answers]}), source=source)


def read_answers(body: bytes) -> list[Answered]:
    """The answers of a message.  Raises Malformed."""
    try:
        minted = _MINTED.decode(body)
    except msgspec.MsgspecError as error:
        raise Malformed(type(error).__name__) from None
    return [Answered(bytes(one.granted) or None, one.refused, one.needs) for one in minted.data.answers]
