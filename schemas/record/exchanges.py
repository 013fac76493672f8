"""Token requests at the OAuth face that named no tool, and requests of whoever failed to prove to be a client."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.accesstoken import AccessTokenClaims
from schemas.base import Digest, InstanceID, Seconds, SpiffeIDText, Wire
from schemas.exchange import ExchangeDecision, ExchangeInput, TransactionClaims
from schemas.reasons import DenyReason

EXCHANGED = "org.weft.record.exchanged.v1"
NOT_EXCHANGED = "org.weft.record.notexchanged.v1"
NOT_AUTHENTICATED = "org.weft.record.notauthenticated.v1"
MAX_ADDRESSES = 8


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


class NotAuthenticated(Wire):
    """Client authentication failed at the OAuth face, so often between `since` and `until`, as one copy of the broker counted.

    `client` is the registered client that the requests named, and nobody proved to be it; absent where they named none, and for clients
    beyond the 32 that are counted by name within a window.
    """

    client: str | None = None
    workload: SpiffeIDText | None = None  # that this client is, where it is one in particular
    instance: InstanceID | None = None  # which it acts as where no issuer attests one
    failures: Annotated[int, Field(ge=1)]
    replays: Annotated[int, Field(ge=0)] = 0  # of these, assertions that were good and had been used before: somebody has copies
    addresses: Annotated[tuple[Digest, ...], Field(max_length=MAX_ADDRESSES)] = ()  # SHA-256 of where from, the most frequent first
    address_count: Annotated[int, Field(ge=0)] = 0  # how many there were; 256 may be more
    since: Seconds
    until: Seconds
