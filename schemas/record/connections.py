"""Connections, as admission saw them."""

from __future__ import annotations

from typing import Literal

from schemas.base import Digest, InstanceID, Seconds, Wire
from schemas.reasons import DenyReason

ADMITTED = "org.weft.record.admitted.v1"
NOT_ADMITTED = "org.weft.record.notadmitted.v1"
CUT = "org.weft.record.cut.v1"


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
