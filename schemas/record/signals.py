"""Signals: heard, answered, told."""

from __future__ import annotations

from typing import Literal

from schemas.base import Name, Opaque, Seconds, Sequence, SpiffeIDText, TargetDigest, Wire
from schemas.facts import Level
from schemas.reasons import DenyReason

SIGNALLED = "org.weft.record.signalled.v1"
RESPONDED = "org.weft.record.responded.v1"
RECEIPTED = "org.weft.record.receipted.v1"
TRANSMITTED = "org.weft.record.transmitted.v1"


class Signalled(Wire):
    """A SET was stored, or refused."""

    iss: str | None = None
    jti: str | None = None
    event: str | None = None
    by: str  # the connection that brought it
    seq: Sequence | None = None  # in SIGNALS
    refused: DenyReason | None = None
    detail: str | None = None


class Responded(Wire):
    """What a signal caused, or a person, or the end of a response's time.

    Where `deliver` is true, `receipt` is for the transmitter `iss` too: it is sent to its `receipts_endpoint`.
    """

    iss: str  # the transmitter, or the person
    jti: str  # the SET's, or the command's id
    event: str
    confidence: Literal["low", "medium", "high"]
    rule: Name | None = None
    policy: Name | None = None
    policy_revision: Sequence | None = None  # of the facts: what the rule said then
    counted: int | None = None  # of a rule with a count: how many signals it counted
    response: Literal["record", "notify", "revoke", "narrow", "step_up", "quarantine", "lift"]
    scope: str | None = None
    target: TargetDigest | None = None
    value: str | None = None
    agent: SpiffeIDText | None = None  # whose instance it is, as far as it was said
    posture_revision: Sequence | None = None
    entry: Sequence | None = None  # of a response that is an entry alone
    message: str | None = None  # the rule's, for operators
    before: Level | None = None  # the posture's level until then; the one since is the posture's own
    detail: str | None = None
    pending: Opaque | None = None  # it is beyond the ceiling and waits under this id
    asked: Literal["record", "notify", "revoke", "narrow", "step_up", "quarantine"] | None = None  # what waits, or was dismissed
    confirmed_by: str | None = None  # the person who confirmed or dismissed what had waited
    deliver: bool = False
    receipt: str | None = None  # compact JWS by the signals key


class Receipted(Wire):
    """A response has reached every enforcement point, or has not: the second receipt, once its entry's completion is on RECORD.

    The first one is in `Responded`; both name the posture's revision.  `deliver` as there.
    """

    iss: str
    jti: str
    rule: Name
    policy: Name
    posture_revision: Sequence
    n: Sequence  # the entry
    contained: bool
    confirmed: int
    expired: int
    uncontained: tuple[str, ...] = ()  # points that did not answer
    last_ms: float | None = None
    completed_at: Seconds
    deliver: bool = False
    receipt: str


class Transmitted(Wire):
    """What became of a SET of ours: its receiver has it, refused it, or was away for too long."""

    stream_id: str
    jti: str
    event: str
    txn: str | None = None
    outcome: Literal["delivered", "refused", "abandoned"]
    err: str | None = None
