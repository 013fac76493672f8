"""Calls: asked, decided, used, and what the broker fetched for them."""

from __future__ import annotations

from typing import Literal

from schemas.authservers import ObtainBy
from schemas.base import Digest, InstanceID, Name, Opaque, Seconds, SpiffeIDText, Wire
from schemas.decision import Decision, DecisionInput
from schemas.exchange import Exchange
from schemas.reasons import DenyReason, GuardReason
from schemas.token import TokenClaims

ISSUED = "org.weft.record.issued.v1"
DENIED = "org.weft.record.denied.v1"
LIMITED = "org.weft.record.limited.v1"
USED = "org.weft.record.used.v1"
RELEASED = "org.weft.record.released.v1"
OBTAINED = "org.weft.record.obtained.v1"


class Issued(Wire):
    """A decision that allowed, and the claims that were signed.  Committed before the token leaves."""

    input: DecisionInput
    gateway: Decision | None = None  # where it is another than the broker's, by its facts or by what it grants
    decision: Decision  # the broker's own; it governs.  The lines of limits and identity are the gateway's
    claims: TokenClaims
    kid: str
    explanation: str
    caller: str
    intent: str | None = None
    exchange: Exchange | None = None  # where the token endpoint was asked: its own gates, which came first


class Denied(Wire):
    """A refusal, by gateway or broker.  `input` is absent where the request could not be read that far."""

    by: Literal["gateway", "broker"]
    reason: DenyReason
    input: DecisionInput | None = None
    decision: Decision | None = None
    explanation: str
    caller: str
    detail: str | None = None  # which rule of which format; never the input
    txn: str | None = None
    exchange: Exchange | None = None
    approval: Opaque | None = None  # of a step-up: what a person was asked


class Limited(Wire):
    """A second's worth of requests over the limit, as one event."""

    caller: str
    count: int
    second: Seconds


class Used(Wire):
    """A guard's report.  The point's name is the one the server attested."""

    point: str
    tool: Name
    jti: str
    txn: str
    sub: str
    agent: SpiffeIDText
    instance: InstanceID
    actions: tuple[str, ...]
    accepted: bool
    reason: GuardReason | None = None
    outcome: Literal["positive", "negative", "none"] = "none"  # what the tool said of it
    object: Digest | None = None
    at: Seconds


class Released(Wire):
    """A credential went to the egress, for one call.  Committed before it leaves the broker."""

    tool: Name
    credential: Name
    version: int
    jti: str
    txn: str
    agent: SpiffeIDText
    instance: InstanceID
    point: str  # the egress, as the server attested it


class Obtained(Wire):
    """A token of an authorization server that is not ours.  `asked` is on RECORD before it is asked for, `got` before it is used.

    `unknown`: no answer came, so that nobody knows whether there is one.  `not_revoked`: it could not be taken back before it ended.
    """

    state: Literal["asked", "got", "refused", "unknown", "revoked", "not_revoked"]
    server: Name
    tool: Name
    by: ObtainBy
    resource: str
    scopes: tuple[str, ...]
    agent: SpiffeIDText
    instance: InstanceID
    jti: str  # of the call's claims
    txn: str
    digest: Digest | None = None  # of the token
    expires_at: Seconds | None = None
    detail: str | None = None  # which rule, or an error code of the standards
