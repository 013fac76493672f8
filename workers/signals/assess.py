"""What a verified SET says, about whom, and how much its sender's word is worth.  Pure.  CAEP 1.0 section 3, RISC 1.0 section 2.

Confidence = the level in the event, or what the transmitter is trusted for that event, whichever is lower.  A member `confidence` in
the event can only lower it.  An event we do not know is worth `low`, so that it is recorded and a policy can name it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from weft.digest import sha256
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.signals import CAEP, RISC, ComplexSubject, EmailSubject, IssSubSubject, OpaqueSubject, SubjectID, UriSubject
from workers.signals.verify import VerifiedSET

Confidence = Literal["low", "medium", "high"]
CONFIDENCES: tuple[Confidence, ...] = ("low", "medium", "high")

_ALWAYS: dict[str, Confidence] = {
    f"{CAEP}session-revoked": "high",
    f"{CAEP}token-claims-change": "low",
    f"{RISC}account-disabled": "high",
    f"{RISC}account-purged": "high",
    f"{RISC}sessions-revoked": "high",
    f"{RISC}credential-compromise": "high",
    f"{RISC}account-credential-change-required": "medium",
}
_BY_MEMBER: dict[str, tuple[str, dict[str, Confidence]]] = {
    f"{CAEP}risk-level-change": ("current_level", {"LOW": "low", "MEDIUM": "medium", "HIGH": "high"}),
    f"{CAEP}credential-change": ("change_type", {"create": "low", "update": "low", "revoke": "high", "delete": "high"}),
    f"{CAEP}assurance-level-change": ("change_direction", {"increase": "low", "decrease": "medium"}),
    f"{CAEP}device-compliance-change": ("current_status", {"compliant": "low", "not-compliant": "medium"}),
}
_CONTRARY: dict[str, tuple[str, str]] = {  # event to the member and value that take earlier words back
    f"{CAEP}risk-level-change": ("current_level", "LOW"),
    f"{CAEP}assurance-level-change": ("change_direction", "increase"),
    f"{CAEP}device-compliance-change": ("current_status", "compliant"),
}
_ALWAYS_CONTRARY = (f"{RISC}account-enabled",)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a signal is about, as far as it says."""

    workload: str | None = None  # a SPIFFE ID
    instance: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """A SET, read."""

    id: str  # of iss and jti
    iss: str
    jti: str
    event: str
    subject: Subject
    confidence: Confidence | None  # none: the sender is not trusted about this event at all
    contrary: bool  # takes earlier words of the same sender back
    event_time: int
    iat: int


def assess(verified: VerifiedSET, *, stored_at: float) -> Signal:
    """`stored_at` is when SIGNALS took it: nothing can have happened later than that, or later than it was said."""
    claims, event, payload = verified.claims, verified.event, verified.payload
    return Signal(
        id=signal_id(claims.iss, claims.jti),
        iss=claims.iss,
        jti=claims.jti,
        event=event,
        subject=subject_of(claims.sub_id),
        confidence=_confidence(event, payload, verified.transmitter.trust),
        contrary=_contrary(event, payload),
        event_time=min(_event_time(payload, claims.iat), claims.iat, int(stored_at)),
        iat=claims.iat,
    )


def signal_id(iss: str, jti: str) -> str:
    """One SET, in the alphabet of ids."""
    return f"{sha256(iss)}.{sha256(jti)}"


def subject_of(sub_id: SubjectID) -> Subject:
    """RFC 9493 and the complex subject of SSF 1.0 section 3.2, with Weft's members `workload` and `instance`."""
    match sub_id:
        case ComplexSubject():
            return Subject(
                workload=_workload(sub_id.workload.uri) if sub_id.workload is not None else None,
                instance=sub_id.instance.id if sub_id.instance is not None else None,
                user=_user(sub_id.user) if sub_id.user is not None else None,
            )
        case UriSubject():
            return Subject(workload=_workload(sub_id.uri))
        case _:
            return Subject(user=_user(sub_id))


def _user(simple: UriSubject | EmailSubject | IssSubSubject | OpaqueSubject) -> str | None:
    """A person as user tokens name them (`sub`).  A URI or an opaque id names none that we could know."""
    match simple:
        case EmailSubject():
            return simple.email
        case IssSubSubject():
            return simple.sub
        case _:
            return None


def _workload(uri: str) -> str | None:
    try:
        return str(SpiffeID.parse(uri))
    except InvalidSpiffeID:
        return None


def _confidence(event: str, payload: dict[str, Any], trust: dict[str, Confidence]) -> Confidence | None:
    trusted = trust.get(event, trust.get("*"))
    if trusted is None:
        return None
    said = payload.get("confidence", trusted)
    return min(trusted, _level(event, payload), said if said in CONFIDENCES else "low", key=CONFIDENCES.index)


def _level(event: str, payload: dict[str, Any]) -> Confidence:
    if event in _BY_MEMBER:
        member, levels = _BY_MEMBER[event]
        value = payload.get(member)
        return levels.get(value, "low") if isinstance(value, str) else "low"
    return _ALWAYS.get(event, "low")


def _contrary(event: str, payload: dict[str, Any]) -> bool:
    if event in _CONTRARY:
        member, value = _CONTRARY[event]
        return bool(payload.get(member) == value)
    return event in _ALWAYS_CONTRARY


def _event_time(payload: dict[str, Any], iat: int) -> int:
    """CAEP 1.0 section 2: seconds, a JSON number.  Whatever is no such time is the SET's own."""
    said = payload.get("event_timestamp")
    return int(said) if isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said <= iat else iat
