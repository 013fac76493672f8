"""What an enforcement point says and hears: attach, claim, use.  The server attests who says it (Nats-Request-Info)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.base import Compact, Digest, FreeText, InstanceID, Name, Opaque, Seconds, Sequence, SpiffeIDText, Wire
from schemas.facts import Key, Tool
from schemas.reasons import DenyReason, GuardReason

ATTACH = "org.weft.point.attached.v1"
CLAIM = "org.weft.point.claimed.v1"
USE = "org.weft.point.used.v1"
ACK = "org.weft.point.acked.v1"
SIGNAL = "org.weft.point.signalled.v1"
ATTACH_ANSWERED = "org.weft.point.attach.answered.v1"
CLAIM_ANSWERED = "org.weft.point.claim.answered.v1"
RECORDED = "org.weft.point.use.recorded.v1"  # answers a use, and a point's own signal
SET_DELIVERED = "org.weft.set.delivered.v1"  # also what SIGNALS holds
SET_ANSWERED = "org.weft.set.answered.v1"


class Attach(Wire):
    """A guard starts, or hears that its tools changed."""

    tools: tuple[Name, ...]
    every: bool = False  # all tools of this workload, whatever their names
    after: Name | None = None  # with `every`: go on after this name; the `next` of the answer before


class Attached(Wire):
    """The tools that this workload serves, and whose signatures to believe."""

    tools: tuple[Tool, ...]
    keys: tuple[Key, ...]
    trust_domain: str
    issuer: str  # `iss` of tokens
    facts_revision: Sequence
    next: Name | None = None  # there are more than one message holds


class Claim(Wire):
    """A single-use token is about to be used."""

    tool: Name
    jti: str
    exp: Seconds
    id: Opaque | None = None  # of this attempt: repeated by the same point it is answered as before; without one, every claim is a new one


class Claimed(Wire):
    """`first` is true for one claimant in the world."""

    first: bool


class Use(Wire):
    """What became of a call.  Sent before the tool answers."""

    tool: Name
    jti: str
    txn: str
    sub: str
    agent: SpiffeIDText
    instance: InstanceID
    actions: tuple[str, ...]
    accepted: bool
    reason: GuardReason | None = None
    outcome: Literal["positive", "negative", "none"] = "none"
    object: Digest | None = None
    at: Seconds


class UseRecorded(Wire):
    """Its sequence in RECORD: what a later request names as evidence."""

    seq: Sequence


class PointSignal(Wire):
    """A guard's own signal about a token it verified.  Whom it is about is what the token says."""

    tool: Name
    token: Compact = Field(repr=False)  # exactly as presented; it reaches no stream and no log
    level: Literal["low", "medium", "high"]
    what: FreeText


class SetDelivery(Wire):
    """A Security Event Token on the bus (RFC 8417), exactly as signed.  SIGNALS holds `set` alone."""

    set: Compact
    subscription: Name | None = None  # by push: for which of our streams
    authorization: str | None = Field(default=None, max_length=4096, repr=False)  # by push: the header as it came


class SetAnswer(Wire):
    """As RFC 8935 section 2.3 and 2.4: accepted, or one of its error codes."""

    accepted: bool
    err: (
        Literal[
            "invalid_request",
            "invalid_key",
            "invalid_issuer",
            "invalid_audience",
            "authentication_failed",
            "access_denied",
            "invalid_state",
        ]
        | None
    ) = None
    description: str | None = None


class Failure(Wire):
    """`data` of `org.weft.failed.v1`: the typed refusal of anything that is not an invocation."""

    reason: DenyReason
    detail: str
    context: dict[str, Any] = {}
