"""Security Event Tokens.  RFC 8417 section 2.2 with the profile of SSF 1.0 section 4.1.

Subjects are in `schemas.subject_ids`, what happened in `schemas.events`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from schemas.base import Seconds
from schemas.events.common import CAEP, RISC, SSF
from schemas.subject_ids import Lenient, SubjectID

__all__ = ["CAEP", "DETECTIONS", "POINTS", "RISC", "SET_TYP", "SSF", "SecurityEventToken"]

SET_TYP = "secevent+jwt"
POINTS = "weft:points"  # `iss` of what the fabric's own guards say
DETECTIONS = "weft:detections"  # `iss` of what its detections find

EventURI = Annotated[str, Field(min_length=1, max_length=512)]


class SecurityEventToken(Lenient):
    """The claims.  `exp` and `sub` must be absent (SSF 1.0 section 4.1.7, RFC 8417 section 2.2)."""

    iss: str
    iat: Seconds
    jti: Annotated[str, Field(min_length=1, max_length=256)]
    aud: str | tuple[str, ...]
    txn: str | None = None
    sub_id: SubjectID
    events: Annotated[dict[EventURI, dict[str, Any]], Field(min_length=1, max_length=1)]
    exp: None = None
    sub: None = None
