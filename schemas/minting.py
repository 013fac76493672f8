"""What the gateway hands the broker, and what it gets back.  Both inside FABRIC; no agent can reach the subject."""

from __future__ import annotations

from schemas.base import Wire
from schemas.decision import Decision
from schemas.invocation import Granted, InvocationRequest
from schemas.reasons import DenyReason

MINT = "org.weft.mint.requested.v1"
MINTED = "org.weft.mint.answered.v1"


class MintRequest(Wire):
    """The request exactly as the agent signed it, and the gateway's decision."""

    request: InvocationRequest
    caller: str  # the connection's name as the server attested it
    received_at: int  # the gateway's clock, seconds; at most 5 s from the broker's
    decision: Decision
    explanation: str
    deadline: float  # seconds since the epoch; the broker refuses after it


class MintAnswer(Wire):
    """One of the two."""

    granted: Granted | None = None
    refused: DenyReason | None = None
    needs: str | None = None
