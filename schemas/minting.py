"""What the gateway hands the broker, and what it gets back.  Both inside FABRIC; no agent can reach the subject.

Requests that arrive at a gateway together travel together.  Each is decided, recorded and answered by itself.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.base import Wire
from schemas.decision import Decision
from schemas.invocation import Granted, InvocationRequest
from schemas.reasons import DenyReason

MINT = "org.weft.mint.requested.v2"
MINTED = "org.weft.mint.answered.v2"
MAX_TOGETHER = 64


class MintRequest(Wire):
    """The request exactly as the agent signed it, and the gateway's decision."""

    request: InvocationRequest
    caller: str  # the connection's name as the server attested it
    received_at: int  # the gateway's clock, seconds; at most 5 s from the broker's
    decision: Decision
    explanation: str
    deadline: float  # seconds since the epoch; the broker refuses after it
    traceparent: str | None = None  # of the agent's message


class MintRequests(Wire):
    """`data` of `MINT`."""

    requests: Annotated[tuple[MintRequest, ...], Field(min_length=1, max_length=MAX_TOGETHER)]


class MintAnswer(Wire):
    """One of the two."""

    granted: Granted | None = None
    refused: DenyReason | None = None
    needs: str | None = None


class MintAnswers(Wire):
    """`data` of `MINTED`: one answer for each request, in their order; a single `malformed` where the message could not be read."""

    answers: Annotated[tuple[MintAnswer, ...], Field(min_length=1, max_length=MAX_TOGETHER)]
