"""Whose signals are heard, what the fabric raises by itself, and who hears ours."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from schemas.base import FreeText, Opaque, Seconds, SpiffeIDText, Wire
from schemas.detections import DetectionRule
from schemas.events.ssf import StreamStatus
from schemas.facts.kinds import Kind, State
from schemas.receiving import SubscriptionRule
from schemas.responses import Answer
from schemas.subject_ids import SubjectID


class TransmitterCeiling(Wire):
    """The most that a transmitter's word may cause."""

    namespaces: tuple[SpiffeIDText, ...]
    strongest: Answer
    subjects_per_minute: Annotated[int, Field(ge=1)] = 60
    signals_per_minute: Annotated[int, Field(ge=1)] = 600  # that are stored, whatever they cause: all senders share SIGNALS and RECORD


class Transmitter(Wire):
    """Who may tell us signals.  Key: SHA-256 of `iss`."""

    kind: Literal[Kind.TRANSMITTER] = Kind.TRANSMITTER
    iss: str
    aud: str
    jwks: dict[str, Any] = {}  # RFC 7517; with `jwks_uri` those that count besides what is there
    jwks_uri: Annotated[str, StringConstraints(pattern=r"^https?://[^\s#]+$", max_length=1024)] | None = (
        None  # read through the edge, kept a while
    )
    trust: dict[str, Literal["low", "medium", "high"]]  # event type URI, or `*`, to the most its word is worth
    ceiling: TransmitterCeiling
    receipts: bool = False  # it is sent the receipt of everything that its signals did
    receipts_endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^\s#]+$", max_length=1024)] | None = None  # where to
    people: tuple[str, ...] | None = None  # `iss` of the providers of whose people it may speak; none: its own, or where all are alike
    state: State = "active"


class Subscription(SubscriptionRule):
    """A stream of ours at a transmitter.  Key: the name."""

    kind: Literal[Kind.SUBSCRIPTION] = Kind.SUBSCRIPTION


class Detection(DetectionRule):
    """What the fabric itself raises a signal about.  Key: the name."""

    kind: Literal[Kind.DETECTION] = Kind.DETECTION


PUSH: Final = "urn:ietf:rfc:8935"
POLL: Final = "urn:ietf:rfc:8936"


class PushDelivery(Wire):
    """Where SETs are pushed to.  `authorization` is sealed under a key that only `signals` holds: FACTS keeps everything for ever."""

    method: Literal["urn:ietf:rfc:8935"] = PUSH
    endpoint_url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=2048)]
    authorization: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=8192)] | None = Field(default=None, repr=False)


class PollDelivery(Wire):
    """The receiver fetches them itself."""

    method: Literal["urn:ietf:rfc:8936"] = POLL


class EventStream(Wire):
    """A receiver's stream of our signals, SSF 1.0 section 8.1.1.  Key: `stream_id`.  `signals` alone writes it."""

    kind: Literal[Kind.STREAM] = Kind.STREAM
    stream_id: Opaque
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=512)]  # whose it is
    aud: str
    events_requested: tuple[str, ...] | None = None  # none: whatever we have
    delivery: Annotated[PushDelivery | PollDelivery, Field(discriminator="method")]
    description: FreeText | None = None
    status: StreamStatus = "enabled"
    status_reason: Annotated[str, StringConstraints(max_length=1024)] | None = None
    added: tuple[SubjectID, ...] = ()
    removed: tuple[SubjectID, ...] = ()
    created_at: Seconds
