"""Security Event Tokens.  RFC 8417 section 2.2 with the profile of SSF 1.0 section 4.1; subjects RFC 9493; events CAEP 1.0.

The spine reads the subject formats `uri`, `email`, `iss_sub`, `opaque` and the complex subject; SPIFFE IDs are `uri`; an instance is
the member `instance` of a complex subject (Weft's profile).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from schemas.base import Seconds, Wire

SET_TYP = "secevent+jwt"
CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"


class Lenient(Wire):
    """Receivers ignore members they do not understand (RFC 8417 section 2)."""

    model_config = ConfigDict(extra="ignore")


class UriSubject(Lenient):
    """RFC 9493 section 3.2.6."""

    format: Literal["uri"]
    uri: str


class EmailSubject(Lenient):
    """RFC 9493 section 3.2.2."""

    format: Literal["email"]
    email: str


class IssSubSubject(Lenient):
    """RFC 9493 section 3.2.3."""

    format: Literal["iss_sub"]
    iss: str
    sub: str


class OpaqueSubject(Lenient):
    """RFC 9493 section 3.2.4."""

    format: Literal["opaque"]
    id: str


Simple = Annotated[UriSubject | EmailSubject | IssSubSubject | OpaqueSubject, Field(discriminator="format")]


class ComplexSubject(Lenient):
    """SSF 1.0 section 3.2; `workload` and `instance` are Weft's members."""

    format: Literal["complex"]
    user: Simple | None = None
    workload: UriSubject | None = None
    instance: OpaqueSubject | None = None
    session: OpaqueSubject | None = None
    tenant: Simple | None = None


SubjectID = Annotated[UriSubject | EmailSubject | IssSubSubject | OpaqueSubject | ComplexSubject, Field(discriminator="format")]


class SecurityEventToken(Lenient):
    """The claims.  `exp` and `sub` must be absent (SSF 1.0 section 4.1.7, RFC 8417 section 2.2)."""

    iss: str
    iat: Seconds
    jti: Annotated[str, Field(min_length=1, max_length=256)]
    aud: str | tuple[str, ...]
    txn: str | None = None
    sub_id: SubjectID
    events: Annotated[dict[str, dict[str, Any]], Field(min_length=1, max_length=1)]
    exp: None = None
    sub: None = None
