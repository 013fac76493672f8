"""The transmitter on the bus: a receiver's HTTP request as the edge hands it on, what is queued, and what operators ask.

SSF 1.0 sections 7 (discovery) and 8 (management), RFC 8935, RFC 8936.  The edge decides nothing of it: `signals` says the status.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints

from schemas.base import Compact, FreeText, Opaque, Sequence, Wire
from schemas.events.ssf import StreamStatus

ASKED = "org.weft.ssf.asked.v1"
ANSWERED = "org.weft.ssf.answered.v1"
QUEUED = "org.weft.ssf.queued.v1"  # on OUTGOING
DEAD = "org.weft.ssf.dead.v1"  # on OUTGOING too, below another subject
STREAMS = "org.weft.command.streams.v1"

MAX_BODY_CHARS = 65_536
WELL_KNOWN = "/.well-known/ssf-configuration"
Operation = Literal[
    "configuration",
    "jwks",
    "create",
    "read",
    "update",
    "replace",
    "delete",
    "read_status",
    "update_status",
    "add_subject",
    "remove_subject",
    "verify",
    "poll",
]


class Asked(Wire):
    """`data` of `ASKED`."""

    operation: Operation
    token: str | None = Field(default=None, max_length=8192, repr=False)  # the bearer, exactly as it came; none: no such header
    in_query: bool = False  # a token stood in the URI, where it has no business (RFC 6750 section 2.3)
    stream_id: Annotated[str, Field(max_length=256)] | None = None  # of the query, or of a poll's path
    body: str = Field(default="", max_length=MAX_BODY_CHARS, repr=False)  # may hold a receiver's credential


class Answered(Wire):
    """`data` of `ANSWERED`: what the HTTP caller gets."""

    status: Annotated[int, Field(ge=200, le=599)]
    body: str | None = Field(default=None, repr=False)  # JSON; none: an empty body
    challenge: str | None = None  # WWW-Authenticate
    retry_after_s: int | None = None
    nothing_yet: bool = False  # of a poll that may wait longer: ask again, without what was acknowledged


class Queued(Wire):
    """A SET on its way: signed once, sent until its receiver has it."""

    stream_id: Opaque
    jti: Opaque
    event: str
    txn: str | None = None
    set: Compact


class Dead(Wire):
    """A SET that was given up: its receiver refused it, or was away for too long."""

    queued: Queued
    err: Annotated[str, StringConstraints(max_length=128)]
    detail: FreeText


class StreamsCommand(Wire):
    """By a revoker of the trust domain.  `what`: list; a status that the transmitter sets by itself; dead letters; an event to send."""

    what: Literal["list", "status", "dead", "resend", "emit"]
    stream_id: Opaque | None = None
    status: StreamStatus | None = None
    jti: Opaque | None = None  # of a resend; none: every dead letter (of the stream)
    event: str | None = None  # of an emit: an event type URI
    subject: dict[str, Any] | None = None
    members: dict[str, Any] = {}
    reason: FreeText | None = None
    after: Sequence = 0


def well_known_path(issuer: str) -> str:
    """Where the document is: the well-known name inserted between host and path, a trailing `/` left out (SSF 1.0 section 7.2)."""
    return WELL_KNOWN + urlsplit(issuer).path.rstrip("/")
