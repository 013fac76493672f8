"""What the fabric did, as CAEP events.  Pure.  CAEP 1.0 section 3; docs/shared-signals.md has it as a table.

* quarantined: session-revoked, and risk-level-change.
* narrowed: token-claims-change with what is left, and risk-level-change.
* stepped up: assurance-level-change, and risk-level-change.
* taken back or run out: risk-level-change to what is left, and assurance-level-change where a step-up ended.
* tokens and transactions revoked: session-revoked.  A signing key revoked: credential-change.

The risk level is that of the posture as it stands when it is told, not of the one signal: receivers act on where things are.  Every
event has `event_timestamp`, `initiating_entity` and `reason_admin`; the reasons are sentences of ours, since what people and
transmitters wrote is for the record alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from schemas.events import Event, caep
from schemas.events.caep import RiskLevel
from schemas.facts import Level, Posture, UserIssuer
from schemas.record import Responded, Revoked
from schemas.subject_ids import (
    AnySubject,
    EmailSubject,
    IssSubSubject,
    JWTIDSubject,
    OpaqueSubject,
    Simple,
    UriSubject,
    complex_of,
)
from workers.common.people import parts_of, provider_of
from workers.signals.policy.posture import OPERATOR, rank
from workers.signals.transmitter.sets import Happening

NAMESPACE = "urn:weft:posture"  # of assurance levels
SIGNING_KEY = "signing-key"  # CAEP's credential types are people's; this one is agreed upon by reading our documentation
SIGNALS = "signals"  # who ordered an entry that a rule asked for
COMPLETED = "completed"  # the cause of an entry that ends a transaction because it is over
_RISK: dict[Level, RiskLevel] = {"normal": "LOW", "narrowed": "MEDIUM", "step_up": "MEDIUM", "quarantined": "HIGH"}
_PRINCIPAL = {"user": "USER", "namespace": "ORG_UNIT"}
SILENT = ("record", "notify")  # nothing was done that anybody else would feel
_DONE = {"quarantine": "quarantined", "revoke": "revoked", "narrow": "narrowed", "step_up": "further proof is required", "lift": "restored"}


@dataclass(frozen=True, slots=True)
class Named:
    """Whom a response hit, in names."""

    scope: str
    value: str | None = None  # SPIFFE ID, prefix or instance
    agent: str | None = None  # whose instance
    user: tuple[Simple, ...] = ()  # the name that is told, then further ones of the same person


def of_response(told: Responded, named: Named, posture: Posture | None, at: int) -> list[Happening]:
    """What was done about a signal, or by an operator.  `posture`: as it stands now; nothing where nothing was done."""
    subject = subject_of(named)
    if told.response in SILENT or told.entry is not None or subject is None:  # an entry is told of by itself
        return []
    common = {
        "event_timestamp": at,
        "initiating_entity": _initiator(told),
        "reason_admin": {"en": _reason(told)},
    }
    cause = f"posture\0{told.scope}\0{told.target}\0{told.posture_revision}"
    principal = _PRINCIPAL.get(told.scope or "", "WORKLOAD")
    return [Happening(event, subject, cause, named.user[1:]) for event in _events(told, posture, principal, common)]


def _events(told: Responded, posture: Posture | None, principal: str, common: dict[str, Any]) -> Iterator[Event]:
    level: Level = posture.level if posture is not None else "normal"
    match told.response:
        case "revoke":  # once, and nothing lasts: the risk is what it was
            yield caep.SessionRevoked(**common)
            return
        case "quarantine":
            yield caep.SessionRevoked(**common)
        case "narrow" if posture is not None:
            yield caep.TokenClaimsChange(claims=_left(posture), **common)
        case "step_up":
            yield _assurance("step_up", told.before or "normal", "decrease", common)
        case "lift" if told.before == "step_up" and rank(level) < rank("step_up"):
            yield _assurance(level, told.before, "increase", common)
    before = _RISK[told.before] if told.before is not None else None
    yield caep.RiskLevelChange(principal=principal, current_level=_RISK[level], previous_level=before, **common)


def _assurance(level: str, before: str, direction: Literal["increase", "decrease"], common: dict[str, Any]) -> Event:
    return caep.AssuranceLevelChange(namespace=NAMESPACE, current_level=level, previous_level=before, change_direction=direction, **common)


def _left(posture: Posture) -> dict[str, Any]:
    """What tokens may still say, as the fabric's own names have it."""
    return {"actions": list(posture.actions), "purposes": list(posture.purposes), "max_ttl_s": posture.max_ttl_s}


def of_revocation(told: Revoked, issuer: str, at: int) -> list[Happening]:
    """An entry that no posture caused: of tokens, transactions and keys."""
    over = told.cause == COMPLETED and not told.by.startswith("U")  # an agent's word about itself; a person's name is an nkey
    if told.posture_revision is not None or over:
        return []
    by_policy = told.by == SIGNALS
    common: dict[str, Any] = {
        "event_timestamp": at,
        "initiating_entity": "policy" if by_policy else "admin",
        "reason_admin": {"en": "revoked after a signal" if by_policy else "revoked by an operator"},
    }
    cause = f"entry\0{told.n}"
    return [made for target in told.targets if (made := _revoked(target, issuer, cause, common)) is not None]


def _revoked(target: str, issuer: str, cause: str, common: dict[str, Any]) -> Happening | None:
    kind, _, value = target.partition(":")
    match kind:
        case "token":
            return Happening(caep.SessionRevoked(**common), JWTIDSubject(format="jwt_id", iss=issuer, jti=value), cause)
        case "transaction":
            return Happening(caep.SessionRevoked(**common), complex_of(transaction=OpaqueSubject(format="opaque", id=value)), cause)
        case "key":
            change = caep.CredentialChange(credential_type=SIGNING_KEY, change_type="revoke", friendly_name=value, **common)
            return Happening(change, IssSubSubject(format="iss_sub", iss=issuer, sub=value), cause)
        case _:  # an instance: a drill's canary; whatever else is real has a posture
            return None


def subject_of(named: Named) -> AnySubject | None:
    """RFC 9493, with Weft's members of the complex subject; none where nobody can be named."""
    match named.scope:
        case "user":
            return named.user[0] if named.user else None
        case "agent" | "namespace" if named.value is not None:
            return UriSubject(format="uri", uri=named.value)
        case "transaction" if named.value is not None:
            return complex_of(transaction=OpaqueSubject(format="opaque", id=named.value))
        case "instance" if named.value is not None:
            workload = {"workload": UriSubject(format="uri", uri=named.agent)} if named.agent is not None else {}
            return complex_of(**workload, instance=OpaqueSubject(format="opaque", id=named.value))
        case _:
            return None


def names_of(person: str, issuers: Sequence[UserIssuer]) -> tuple[Simple, ...]:
    """A person to somebody else: the name that is told, always the same one, then others by which a receiver may have added them.

    They are named by their provider's own `iss` and `sub`, never by what means nothing outside this fabric; who has no namespace and is
    called by an email address is named by that, as always.
    """
    namespace, sub = parts_of(person)
    address = [] if namespace else _addressed(sub)
    first = provider_of(person, issuers)
    alike = () if first is None else (first[0], *(one for one in issuers if one.namespace == namespace and one != first[0]))
    own: list[Simple] = [IssSubSubject(format="iss_sub", iss=one.iss, sub=sub) for one in alike]
    return (*address, *own, OpaqueSubject(format="opaque", id=person))


def _addressed(sub: str) -> list[Simple]:
    """By email, where that is what it is: of whatever somebody may be called, not all that holds an `@` is an address (RFC 9493)."""
    try:
        return [EmailSubject(format="email", email=sub)]
    except ValidationError:
        return []


def _initiator(told: Responded) -> Literal["admin", "policy", "system"]:
    if told.event == OPERATOR:
        return "admin"
    return "system" if told.response == "lift" and told.rule is not None else "policy"  # a rule's duration has passed


def _reason(told: Responded) -> str:
    what = _DONE.get(told.response, told.response)
    if told.event == OPERATOR:
        return f"{what} by an operator"
    rule = "" if told.rule is None else f", rule {told.rule}"
    return f"{what} after a signal{rule}"
