"""Events as CAEP 1.0, RISC 1.0 and SSF 1.0 list them: every type, its required members, its enumerations."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.events import BY_URI, CAEP, RISC, SSF, UnknownEvent, read_event

COMMON = {"event_timestamp": 1_800_000_000, "initiating_entity": "policy", "reason_admin": {"en": "a"}, "reason_user": {"es-410": "b"}}
CHANGE = {"credential_type": "fido2-roaming", "change_type": "create"}
LEVEL = {"namespace": "NIST-AAL", "current_level": "nist-aal2"}
DEVICE = {"previous_status": "compliant", "current_status": "not-compliant"}
RISK = {"principal": "USER", "current_level": "HIGH"}

REQUIRED: dict[str, dict[str, Any]] = {  # every event type, with exactly what it requires
    f"{CAEP}session-revoked": {},
    f"{CAEP}token-claims-change": {"claims": {"role": "ro-admin"}},
    f"{CAEP}credential-change": CHANGE,
    f"{CAEP}assurance-level-change": LEVEL,
    f"{CAEP}device-compliance-change": DEVICE,
    f"{CAEP}session-established": {},
    f"{CAEP}session-presented": {},
    f"{CAEP}risk-level-change": RISK,
    f"{RISC}account-credential-change-required": {},
    f"{RISC}account-purged": {},
    f"{RISC}account-disabled": {},
    f"{RISC}account-enabled": {},
    f"{RISC}identifier-changed": {},
    f"{RISC}identifier-recycled": {},
    f"{RISC}credential-compromise": {"credential_type": "password"},
    f"{RISC}opt-in": {},
    f"{RISC}opt-out-initiated": {},
    f"{RISC}opt-out-cancelled": {},
    f"{RISC}opt-out-effective": {},
    f"{RISC}recovery-activated": {},
    f"{RISC}recovery-information-changed": {},
    f"{RISC}sessions-revoked": {},
    f"{SSF}verification": {},
    f"{SSF}stream-updated": {"status": "paused"},
}
OPTIONAL: dict[str, dict[str, Any]] = {
    f"{CAEP}credential-change": {"friendly_name": "key", "x509_issuer": "CN=a", "x509_serial": "1", "fido2_aaguid": "accced6a"},
    f"{CAEP}assurance-level-change": {"previous_level": "nist-aal1", "change_direction": "increase"},
    f"{CAEP}session-established": {"fp_ua": "abb0", "acr": "AAL2", "amr": ["otp", "pwd"], "ext_id": "12345"},
    f"{CAEP}session-presented": {"fp_ua": "abb0", "ext_id": "12345"},
    f"{CAEP}risk-level-change": {"previous_level": "LOW", "risk_reason": "PASSWORD_FOUND_IN_DATA_BREACH"},
    f"{RISC}account-disabled": {"reason": "bulk-account"},
    f"{RISC}identifier-changed": {"new-value": "ann@new.example"},
    f"{SSF}verification": {"state": "VGhpcyBpcyBhbiBleGFtcGxl"},
    f"{SSF}stream-updated": {"reason": "internal error"},
}


def test_every_type_is_there_and_no_other() -> None:
    assert set(BY_URI) == set(REQUIRED)


@pytest.mark.parametrize("uri", sorted(REQUIRED))
def test_every_type_is_read_with_all_its_members(uri: str) -> None:
    common = COMMON if uri.startswith(CAEP) or uri.endswith("credential-compromise") else {}
    said = {**REQUIRED[uri], **OPTIONAL.get(uri, {}), **common}
    assert read_event(uri, {**said, "unknown": 1}).plain() == said


@pytest.mark.parametrize(("uri", "member"), [(uri, member) for uri, payload in REQUIRED.items() for member in payload])
def test_a_required_member_that_is_missing_is_refused(uri: str, member: str) -> None:
    payload = {name: value for name, value in REQUIRED[uri].items() if name != member}
    with pytest.raises(ValueError, match=member):
        read_event(uri, payload)


@pytest.mark.parametrize(
    ("uri", "payload"),
    [
        (f"{CAEP}credential-change", {**CHANGE, "change_type": "lost"}),
        (f"{CAEP}credential-change", {**CHANGE, "credential_type": ""}),
        (f"{CAEP}assurance-level-change", {**LEVEL, "change_direction": "sideways"}),
        (f"{CAEP}device-compliance-change", {**DEVICE, "current_status": "unknown"}),
        (f"{CAEP}risk-level-change", {**RISK, "current_level": "high"}),
        (f"{CAEP}token-claims-change", {"claims": ["role"]}),
        (f"{CAEP}session-established", {"amr": "otp"}),
        (f"{CAEP}session-revoked", {"event_timestamp": "1800000000"}),
        (f"{CAEP}session-revoked", {"event_timestamp": -1}),
        (f"{CAEP}session-revoked", {"initiating_entity": "robot"}),
        (f"{CAEP}session-revoked", {"reason_admin": "text"}),
        (f"{CAEP}session-revoked", {"reason_admin": {}}),
        (f"{CAEP}session-revoked", {"reason_user": {"not a tag": "text"}}),
        (f"{RISC}account-disabled", {"reason": "boredom"}),
        (f"{SSF}stream-updated", {"status": "deleted"}),
        (f"{SSF}verification", {"state": 1}),
    ],
)
def test_what_does_not_fit_its_type_is_refused(uri: str, payload: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's
        read_event(uri, payload)


def test_enumerations_that_may_be_extended_are_open() -> None:
    assert read_event(f"{CAEP}risk-level-change", {**RISK, "principal": "WORKLOAD"}).plain()["principal"] == "WORKLOAD"
    assert read_event(f"{CAEP}credential-change", {**CHANGE, "credential_type": "jwt-svid"}).plain()["credential_type"] == "jwt-svid"


def test_an_event_of_another_family_is_unknown_and_no_error() -> None:
    assert isinstance(read_event("https://schemas.openid.net/secevent/wise/event-type/workload-disabled", {"reason": "x"}), UnknownEvent)
