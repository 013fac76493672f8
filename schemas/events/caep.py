"""CAEP 1.0 Final (2025-08-29), section 3: every event type."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from schemas.events.common import CAEP, CAEPEvent, Open

INTEROP = ("session-revoked", "credential-change", "device-compliance-change")  # CAEP Interoperability Profile 1.0, use cases
CREDENTIAL_TYPES = (
    "password",
    "pin",
    "x509",
    "fido2-platform",
    "fido2-roaming",
    "fido-u2f",
    "verifiable-credential",
    "phone-voice",
    "phone-sms",
    "app",
)
ASSURANCE_NAMESPACES = ("RFC8176", "RFC6711", "ISO-IEC-29115", "NIST-IAL", "NIST-AAL", "NIST-FAL")
PRINCIPALS = ("USER", "DEVICE", "SESSION", "TENANT", "ORG_UNIT", "GROUP")
Compliance = Literal["compliant", "not-compliant"]
RiskLevel = Literal["LOW", "MEDIUM", "HIGH"]


class SessionRevoked(CAEPEvent):
    """Section 3.1."""

    URI: ClassVar[str] = f"{CAEP}session-revoked"


class TokenClaimsChange(CAEPEvent):
    """Section 3.2.  `claims`: the new values."""

    URI: ClassVar[str] = f"{CAEP}token-claims-change"

    claims: dict[str, Any]


class CredentialChange(CAEPEvent):
    """Section 3.3.  `credential_type`: one of CREDENTIAL_TYPES, or as agreed."""

    URI: ClassVar[str] = f"{CAEP}credential-change"

    credential_type: Open
    change_type: Literal["create", "revoke", "update", "delete"]
    friendly_name: str | None = None
    x509_issuer: str | None = None
    x509_serial: str | None = None
    fido2_aaguid: str | None = None


class AssuranceLevelChange(CAEPEvent):
    """Section 3.4.  `namespace`: one of ASSURANCE_NAMESPACES, or another."""

    URI: ClassVar[str] = f"{CAEP}assurance-level-change"

    namespace: Open
    current_level: Open
    previous_level: Open | None = None
    change_direction: Literal["increase", "decrease"] | None = None


class DeviceComplianceChange(CAEPEvent):
    """Section 3.5."""

    URI: ClassVar[str] = f"{CAEP}device-compliance-change"

    previous_status: Compliance
    current_status: Compliance


class SessionEstablished(CAEPEvent):
    """Section 3.6."""

    URI: ClassVar[str] = f"{CAEP}session-established"

    fp_ua: str | None = None  # a fingerprint of the user agent
    acr: str | None = None
    amr: tuple[str, ...] | None = None
    ext_id: str | None = None


class SessionPresented(CAEPEvent):
    """Section 3.7."""

    URI: ClassVar[str] = f"{CAEP}session-presented"

    fp_ua: str | None = None
    ext_id: str | None = None


class RiskLevelChange(CAEPEvent):
    """Section 3.8.  `principal`: one of PRINCIPALS, or another; Weft says WORKLOAD."""

    URI: ClassVar[str] = f"{CAEP}risk-level-change"

    principal: Open
    current_level: RiskLevel
    previous_level: RiskLevel | None = None
    risk_reason: Annotated[str, Field(max_length=4096)] | None = None


EVENTS = (
    SessionRevoked,
    TokenClaimsChange,
    CredentialChange,
    AssuranceLevelChange,
    DeviceComplianceChange,
    SessionEstablished,
    SessionPresented,
    RiskLevelChange,
)
