"""What a SAML 1.1 assertion says: oasis-sstc-saml-core-1.1 section 2.  Its subject stands in each statement."""

from __future__ import annotations

from typing import Any

from workers.broker.oauth.saml.said import BEARER, HOLDER_OF_KEY, Confirmation, Name, Said, certificates_in, instant, only, period, text_in
from workers.broker.oauth.saml.signed import SAML1, refused

_NS = f"{{{SAML1}}}"
_METHODS = {f"urn:oasis:names:tc:SAML:1.0:cm:{method}": method for method in (BEARER, HOLDER_OF_KEY)}
_CONDITIONS = frozenset((f"{_NS}AudienceRestrictionCondition", f"{_NS}DoNotCacheCondition"))  # section 2.3.2.1; used one time here


def read(assertion: Any) -> Said:
    """Raises IdentityRefused for what is not there, or could not be respected."""
    if (assertion.get("MajorVersion"), assertion.get("MinorVersion")) != ("1", "1"):
        raise refused("is not of SAML 1.1")
    conditions, subjects = only(assertion, f"{_NS}Conditions"), assertion.findall(f"{_NS}*/{_NS}Subject")
    if any(condition.tag not in _CONDITIONS for condition in conditions):
        raise refused("has a condition that is not understood")
    names = {_name(only(subject, f"{_NS}NameIdentifier")) for subject in subjects}
    if len(names) != 1:
        raise refused("has no subject, or names several")
    return Said(
        id=assertion.get("AssertionID"),
        issuer=assertion.get("Issuer", ""),
        issued=instant(assertion.get("IssueInstant"), "IssueInstant"),
        name=names.pop(),
        period=period(conditions),
        restrictions=tuple(
            frozenset(map(text_in, restriction.findall(f"{_NS}Audience")))
            for restriction in conditions.findall(f"{_NS}AudienceRestrictionCondition")
        ),
        subjects=tuple(map(_confirmations, subjects)),
    )


def _name(element: Any) -> Name:
    return Name(text_in(element), element.get("Format"), element.get("NameQualifier"))


def _confirmations(subject: Any) -> tuple[Confirmation, ...]:
    """Section 2.4.2.3."""
    return tuple(
        Confirmation(_METHODS.get(text_in(method), "another"), certificates=certificates_in(element))
        for element in subject.findall(f"{_NS}SubjectConfirmation")
        for method in element.findall(f"{_NS}ConfirmationMethod")
    )
