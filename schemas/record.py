"""What RECORD holds: one CloudEvent per thing that happened, on `weft.record.<worker>.<what>.<who>`.

No subject holds a txn, jti or request id; no event holds a token.  Types are `org.weft.record.<what>.v1`.
"""

from __future__ import annotations

from typing import Any, Literal

from schemas.accesstoken import AccessTokenClaims
from schemas.authservers import ObtainBy
from schemas.base import Digest, InstanceID, Name, Opaque, Seconds, Sequence, SpiffeIDText, TargetDigest, Wire
from schemas.decision import Decision, DecisionInput
from schemas.drills import DrillReport
from schemas.exchange import Exchange, ExchangeDecision, ExchangeInput, TransactionClaims
from schemas.facts import Level
from schemas.reasons import DenyReason, GuardReason
from schemas.token import TokenClaims

ISSUED = "org.weft.record.issued.v1"
DENIED = "org.weft.record.denied.v1"
LIMITED = "org.weft.record.limited.v1"
USED = "org.weft.record.used.v1"
ADMITTED = "org.weft.record.admitted.v1"
NOT_ADMITTED = "org.weft.record.notadmitted.v1"
CUT = "org.weft.record.cut.v1"
APPLIED = "org.weft.record.applied.v1"
SIGNALLED = "org.weft.record.signalled.v1"
RESPONDED = "org.weft.record.responded.v1"
RECEIPTED = "org.weft.record.receipted.v1"
APPROVED = "org.weft.record.approved.v1"
REVOKED = "org.weft.record.revoked.v1"
TRANSMITTED = "org.weft.record.transmitted.v1"
COMPLETED = "org.weft.record.completed.v1"
UNCONTAINED = "org.weft.record.uncontained.v1"
EXCHANGED = "org.weft.record.exchanged.v1"
NOT_EXCHANGED = "org.weft.record.notexchanged.v1"
CUSTODY = "org.weft.record.custody.v1"
RELEASED = "org.weft.record.released.v1"
CANARY_ISSUED = "org.weft.record.canaryissued.v1"
DRILLED = "org.weft.record.drilled.v1"
OBTAINED = "org.weft.record.obtained.v1"
DOCUMENT = "org.weft.record.document.v1"
CANARY = "org.weft.record.canary.v1"


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


class Admitted(Wire):
    """A connection was admitted."""

    name: str
    kind: Literal["agent", "point", "operator"]
    id: str
    instance: InstanceID | None = None
    jkt: Digest | None = None
    svid_jti: str | None = None
    expires_at: Seconds


class NotAdmitted(Wire):
    """A connection was refused."""

    kind: str
    id: str | None = None  # as far as it was verified
    reason: DenyReason
    detail: str


class Cut(Wire):
    """Connections were cut."""

    name: str
    connections: int
    cause: str


class Applied(Wire):
    """A set of changes was committed to FACTS, or refused."""

    person: str
    changes: tuple[str, ...]  # `<kind>/<key>`, at most 1,000
    revision: Sequence | None = None
    refused: DenyReason | None = None
    detail: str | None = None


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


class Transmitted(Wire):
    """What became of a SET of ours: its receiver has it, refused it, or was away for too long."""

    stream_id: str
    jti: str
    event: str
    txn: str | None = None
    outcome: Literal["delivered", "refused", "abandoned"]
    err: str | None = None


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


class Approved(Wire):
    """A person was asked to let a request pass, or answered; or their answer was used."""

    id: Opaque
    agent: SpiffeIDText
    instance: InstanceID
    tool: Name
    digest: Digest  # of what is asked: agent, instance, person, tool, actions, purpose, arguments
    what: Literal["asked", "approved", "denied", "spent"]
    by: str  # the gateway's caller, the person's nkey, or the broker
    explanation: str | None = None  # of the refusal that asked
    reason: str | None = None
    expires_at: Seconds | None = None
    spent_on: Digest | None = None


class Revoked(Wire):
    """An entry was committed; names and reasons stand here, digests in REVOCATIONS."""

    n: int
    targets: tuple[str, ...]  # `<kind>:<value>`
    cause: str
    posture_revision: Sequence | None = None
    by: str


class PointOutcome(Wire):
    """How one point ended."""

    point: str
    state: Literal["confirmed", "expired", "uncontained"]
    ms: float | None = None


class Completed(Wire):
    """The completion record of an entry."""

    n: int
    contained: bool
    posture_revision: Sequence | None = None  # of the facts: the posture that the entry was written for
    points: tuple[PointOutcome, ...]
    omitted: int = 0  # confirmed points left out of `points`, so that the event fits a message
    committed_at: float
    last_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


class Uncontained(Wire):
    """The alarm: an enforcement point is not contained, or (`ended`) it is again."""

    point: str
    agent: SpiffeIDText  # its workload: whose auditors may see it
    n: int  # the entry it has not applied, or whose target it was seen to accept
    why: Literal["not_applied", "accepted"]
    tools: tuple[Name, ...]  # new calls are refused, unless their record says `serve`
    ended: Literal["answered", "silent"] | None = None  # silent: past its budget, so it refuses by itself


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


class Custody(Wire):
    """What a custodian did with a credential or a token key, or was refused.  Never a value."""

    person: str
    what: str  # `key.prepared`, `credential.put` and so on
    name: Name | None = None
    version: int | None = None
    kid: str | None = None
    refused: DenyReason | None = None
    detail: str | None = None


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


class CanaryIssued(Wire):
    """A canary token of a drill: it allows nothing, and rests on no decision."""

    drill: Opaque
    claims: TokenClaims
    kid: str


class Drilled(DrillReport):
    """How a drill ended."""


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


class MetadataDocument(Wire):
    """The metadata document of a registered client or tool is another than the one that was accepted."""

    about: str  # the client's id, or `tool/<name>`
    document: Digest
    accepted: Digest | None = None


class Canary(Wire):
    """Nothing happened: a worker was asked after its health, and shows that RECORD acknowledges what it publishes."""

    worker: str


RecordData = (
    Issued
    | Denied
    | Limited
    | Used
    | Admitted
    | NotAdmitted
    | Cut
    | Applied
    | Signalled
    | Responded
    | Receipted
    | Approved
    | Revoked
    | Completed
    | Uncontained
    | CanaryIssued
    | Drilled
    | Transmitted
    | Exchanged
    | NotExchanged
    | MetadataDocument
    | Custody
    | Released
    | Obtained
    | Canary
)
BY_TYPE: dict[str, type[Any]] = {
    ISSUED: Issued,
    DENIED: Denied,
    LIMITED: Limited,
    USED: Used,
    ADMITTED: Admitted,
    NOT_ADMITTED: NotAdmitted,
    CUT: Cut,
    APPLIED: Applied,
    SIGNALLED: Signalled,
    RESPONDED: Responded,
    TRANSMITTED: Transmitted,
    RECEIPTED: Receipted,
    APPROVED: Approved,
    REVOKED: Revoked,
    COMPLETED: Completed,
    UNCONTAINED: Uncontained,
    EXCHANGED: Exchanged,
    NOT_EXCHANGED: NotExchanged,
    DOCUMENT: MetadataDocument,
    CUSTODY: Custody,
    RELEASED: Released,
    CANARY_ISSUED: CanaryIssued,
    DRILLED: Drilled,
    OBTAINED: Obtained,
    CANARY: Canary,
}
