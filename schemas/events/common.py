"""What events have in common.  CAEP 1.0 section 2 (members), RFC 8417 section 2 (unknown members are ignored)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from schemas.subject_ids import Lenient

CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"

Moment = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, allow_inf_nan=False)]  # a JSON number, seconds since the epoch
_Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8})*$", max_length=64)]  # BCP 47
_Said = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Localised = Annotated[dict[_Tag, _Said], Field(min_length=1, max_length=64)]
InitiatingEntity = Literal["admin", "user", "policy", "system"]
Open = Annotated[str, StringConstraints(min_length=1, max_length=256)]  # an enumeration that both sides may agree to extend


class Event(Lenient):
    """The payload of one event; `URI` names its type."""

    URI: ClassVar[str] = ""
    SUBJECTS: ClassVar[frozenset[str]] = frozenset()  # the only subject formats it is sent about; empty: any

    confidence: Any = None  # Weft's own, optional: what the transmitter thinks of it; it can only lower what its word is worth


class CAEPEvent(Event):
    """Members of every CAEP event, all optional.  CAEP 1.0 section 2."""

    event_timestamp: Moment | None = None  # when it happened
    initiating_entity: InitiatingEntity | None = None
    reason_admin: Localised | None = None
    reason_user: Localised | None = None


class UnknownEvent(Event):
    """An event of a type nobody here knows: recorded, and a policy can name it."""
