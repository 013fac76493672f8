"""What a verified SET says, about whom, and how much its sender's word is worth.  Pure.  CAEP 1.0 section 3, RISC 1.0 section 2.

Confidence = the level in the event, or what the transmitter is trusted for that event, whichever is lower.  A member `confidence` in
the event can only lower it.  An event we do not know is worth `low`, so that it is recorded and a policy can name it.

The fabric's own guards and detections say what they noticed, and never that all is well: many speak under one `iss`, and whoever is watched
can have the smallest of it said.  So a level of LOW is another's all-clear, and theirs a small suspicion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from weft.digest import sha256
from weft.spiffeid import MAX_REGISTERED_BYTES, InvalidSpiffeID, SpiffeID

from schemas.events import CAEPEvent, Event, caep, risc
from schemas.facts import UserIssuer
from schemas.signals import DETECTIONS, POINTS
from schemas.subject_ids import AliasesSubject, AnySubject, ComplexSubject, OpaqueSubject, UriSubject
from workers.signals.policy.persons import Speaker
from workers.signals.verify import VerifiedSET

Confidence = Literal["low", "medium", "high"]
CONFIDENCES: tuple[Confidence, ...] = ("low", "medium", "high")
OWN = (POINTS, DETECTIONS)  # who has seen the token, or the record of it

_RISK: dict[str, Confidence] = {"LOW": "low", "MEDIUM": "medium", "HIGH": "high"}


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a signal is about, as far as it says."""

    workload: str | None = None  # a SPIFFE ID
    instance: str | None = None
    user: str | None = None  # as this fabric calls them
    transaction: str | None = None  # a `txn`
    key: str | None = None  # the `kid` of a key that signs tokens


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
    at: int  # when SIGNALS took it


def assess(verified: VerifiedSET, issuers: Sequence[UserIssuer], *, stored_at: float) -> Signal:
    """`issuers`: the providers of people.  `stored_at` is when SIGNALS took it: nothing can have happened later than that, or later than
    it was said.
    """
    claims, happened = verified.claims, verified.happened
    return Signal(
        id=signal_id(claims.iss, claims.jti),
        iss=claims.iss,
        jti=claims.jti,
        event=verified.event,
        subject=subject_of(claims.sub_id, Speaker(verified.transmitter, issuers)),
        confidence=_confidence(verified.event, happened, verified.transmitter.trust),
        contrary=claims.iss not in OWN and _contrary(happened),
        event_time=min(_event_time(happened, claims.iat), claims.iat, int(stored_at)),
        iat=claims.iat,
        at=int(stored_at),
    )


def signal_id(iss: str, jti: str) -> str:
    """One SET, in the alphabet of ids."""
    return f"{sha256(iss)}.{sha256(jti)}"


def subject_of(sub_id: AnySubject, speaker: Speaker) -> Subject:
    """RFC 9493 and the complex subject of SSF 1.0 section 3.2, with Weft's members.  A format that names none of ours says nothing."""
    match sub_id:
        case ComplexSubject():
            return Subject(
                workload=_workload(sub_id.workload.uri) if sub_id.workload is not None else None,
                instance=sub_id.instance.id if sub_id.instance is not None else None,
                user=speaker.person(sub_id.user) if sub_id.user is not None else None,
                transaction=sub_id.transaction.id if sub_id.transaction is not None else None,
                key=_opaque(sub_id.members().get("key")),
            )
        case AliasesSubject():  # one party under several names: the first that we know
            found = (_workload(one.uri) for one in sub_id.identifiers if isinstance(one, UriSubject))
            return Subject(workload=next((one for one in found if one is not None), None), user=speaker.person(sub_id))
        case UriSubject():
            return Subject(workload=_workload(sub_id.uri))
        case _:
            return Subject(user=speaker.person(sub_id))


def _opaque(member: object) -> str | None:
    return member.id if isinstance(member, OpaqueSubject) else None


def _workload(uri: str) -> str | None:
    """One that could be registered here: nobody is named by a longer one, and no record would hold it."""
    try:
        return str(SpiffeID.parse(uri)) if len(uri.encode()) <= MAX_REGISTERED_BYTES else None
    except InvalidSpiffeID:
        return None


def _confidence(uri: str, happened: Event, trust: dict[str, Confidence]) -> Confidence | None:
    trusted = trust.get(uri, trust.get("*"))
    if trusted is None:
        return None
    said: Any = trusted if happened.confidence is None else happened.confidence
    return min(trusted, _level(happened), said if said in CONFIDENCES else "low", key=CONFIDENCES.index)


def _level(happened: Event) -> Confidence:  # noqa: PLR0911 - one line per meaning
    match happened:
        case caep.RiskLevelChange():
            return _RISK[happened.current_level]
        case caep.CredentialChange():
            return "high" if happened.change_type in ("revoke", "delete") else "low"
        case caep.AssuranceLevelChange():
            return "medium" if happened.change_direction == "decrease" else "low"
        case caep.DeviceComplianceChange():
            return "medium" if happened.current_status == "not-compliant" else "low"
        case caep.SessionRevoked() | risc.AccountDisabled() | risc.AccountPurged() | risc.SessionsRevoked() | risc.CredentialCompromise():
            return "high"
        case risc.AccountCredentialChangeRequired():
            return "medium"
        case _:  # nothing that would call for an answer by itself, or unknown: recorded, and a policy can name it
            return "low"


def _contrary(happened: Event) -> bool:
    """Takes earlier words of its sender back."""
    match happened:
        case caep.RiskLevelChange():
            return happened.current_level == "LOW"
        case caep.AssuranceLevelChange():
            return happened.change_direction == "increase"
        case caep.DeviceComplianceChange():
            return happened.current_status == "compliant"
        case _:
            return isinstance(happened, risc.AccountEnabled)


def _event_time(happened: Event, iat: int) -> int:
    """CAEP 1.0 section 2: seconds.  What lies after the SET was made (milliseconds, say) is the SET's own time."""
    said = happened.event_timestamp if isinstance(happened, CAEPEvent) else None
    return int(said) if said is not None and said <= iat else iat
