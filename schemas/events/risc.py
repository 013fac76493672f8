"""RISC 1.0 Final (2025-08-29), section 2: every event type."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.events.common import RISC, CAEPEvent, Event, Open

_IDENTIFIERS = frozenset({"email", "phone_number"})


class AccountCredentialChangeRequired(Event):
    """Section 2.1."""

    URI: ClassVar[str] = f"{RISC}account-credential-change-required"


class AccountPurged(Event):
    """Section 2.2."""

    URI: ClassVar[str] = f"{RISC}account-purged"


class AccountDisabled(Event):
    """Section 2.3."""

    URI: ClassVar[str] = f"{RISC}account-disabled"

    reason: Literal["hijacking", "bulk-account"] | None = None


class AccountEnabled(Event):
    """Section 2.4."""

    URI: ClassVar[str] = f"{RISC}account-enabled"


class IdentifierChanged(Event):
    """Section 2.5.  The subject is the old identifier."""

    URI: ClassVar[str] = f"{RISC}identifier-changed"
    SUBJECTS: ClassVar[frozenset[str]] = _IDENTIFIERS

    new_value: Annotated[str | None, Field(alias="new-value")] = None


class IdentifierRecycled(Event):
    """Section 2.6."""

    URI: ClassVar[str] = f"{RISC}identifier-recycled"
    SUBJECTS: ClassVar[frozenset[str]] = _IDENTIFIERS


class CredentialCompromise(CAEPEvent):
    """Section 2.7: `credential_type` as in CAEP 1.0 section 3.3."""

    URI: ClassVar[str] = f"{RISC}credential-compromise"

    credential_type: Open


class OptIn(Event):
    """Section 2.8.1."""

    URI: ClassVar[str] = f"{RISC}opt-in"


class OptOutInitiated(Event):
    """Section 2.8.2."""

    URI: ClassVar[str] = f"{RISC}opt-out-initiated"


class OptOutCancelled(Event):
    """Section 2.8.3."""

    URI: ClassVar[str] = f"{RISC}opt-out-cancelled"


class OptOutEffective(Event):
    """Section 2.8.4."""

    URI: ClassVar[str] = f"{RISC}opt-out-effective"


class RecoveryActivated(Event):
    """Section 2.9."""

    URI: ClassVar[str] = f"{RISC}recovery-activated"


class RecoveryInformationChanged(Event):
    """Section 2.10."""

    URI: ClassVar[str] = f"{RISC}recovery-information-changed"


class SessionsRevoked(Event):
    """Section 2.11; deprecated there: CAEP's session-revoked says it.  Read, never sent."""

    URI: ClassVar[str] = f"{RISC}sessions-revoked"


EVENTS = (
    AccountCredentialChangeRequired,
    AccountPurged,
    AccountDisabled,
    AccountEnabled,
    IdentifierChanged,
    IdentifierRecycled,
    CredentialCompromise,
    OptIn,
    OptOutInitiated,
    OptOutCancelled,
    OptOutEffective,
    RecoveryActivated,
    RecoveryInformationChanged,
    SessionsRevoked,
)
