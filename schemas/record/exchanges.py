"""Token requests at the OAuth face that named no tool."""

from __future__ import annotations

from schemas.accesstoken import AccessTokenClaims
from schemas.base import Wire
from schemas.exchange import ExchangeDecision, ExchangeInput, TransactionClaims
from schemas.reasons import DenyReason

EXCHANGED = "org.weft.record.exchanged.v1"
NOT_EXCHANGED = "org.weft.record.notexchanged.v1"


class Exchanged(Wire):
    """A token request at the OAuth face that named no tool was granted.  Committed before the token leaves."""

    input: ExchangeInput
    decision: ExchangeDecision
    claims: TransactionClaims | AccessTokenClaims
    kid: str
    explanation: str
    caller: str  # the client's id


class NotExchanged(Wire):
    """A token request of an authenticated client was refused.  `input` is absent where it could not be read that far."""

    reason: DenyReason
    input: ExchangeInput | None = None
    decision: ExchangeDecision | None = None
    explanation: str
    caller: str
    detail: str | None = None  # which rule of which format; never the input
