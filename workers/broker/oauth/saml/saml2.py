"""What a SAML 2.0 assertion says: saml-core-2.0-os section 2."""

from __future__ import annotations

from typing import Any

from workers.broker.oauth.saml.said import (
    BEARER,
    HOLDER_OF_KEY,
    Confirmation,
    Name,
    Period,
    Said,
    certificates_in,
    instant,
    only,
    period,
    text_in,
)
from workers.broker.oauth.saml.signed import SAML2, refused

_NS = f"{{{SAML2}}}"
_METHODS = {f"urn:oasis:names:tc:SAML:2.0:cm:{method}": method for method in (BEARER, HOLDER_OF_KEY)}
_CONDITIONS = frozenset((f"{_NS}AudienceRestriction", f"{_NS}OneTimeUse"))  # section 2.5.1; every assertion is used one time here


def read(assertion: Any) -> Said:
    """Raises IdentityRefused for what is not there, or could not be respected."""
    if assertion.get("Version") != "2.0":
        raise refused("is not of SAML 2.0")
    subject, conditions = only(assertion, f"{_NS}Subject"), only(assertion, f"{_NS}Conditions")
    if any(condition.tag not in _CONDITIONS for condition in conditions):
        raise refused("has a condition that is not understood, or lets nothing follow from it (ProxyRestriction)")
    return Said(
        id=assertion.get("ID"),
        issuer=text_in(only(assertion, f"{_NS}Issuer")),
        issued=instant(assertion.get("IssueInstant"), "IssueInstant"),
        name=_name(only(subject, f"{_NS}NameID")),
        period=period(conditions).and_(_sessions(assertion)),
        restrictions=tuple(
            frozenset(map(text_in, restriction.findall(f"{_NS}Audience")))
            for restriction in conditions.findall(f"{_NS}AudienceRestriction")
        ),
        subjects=(tuple(map(_confirmation, subject.findall(f"{_NS}SubjectConfirmation"))),),
    )


def _name(element: Any) -> Name:
    return Name(text_in(element), element.get("Format"), element.get("NameQualifier"), element.get("SPNameQualifier"))


def _sessions(assertion: Any) -> Period:
    """Section 2.7.2: the session at the provider ends then, and what rests on it."""
    ends = (statement.get("SessionNotOnOrAfter") for statement in assertion.findall(f"{_NS}AuthnStatement"))
    return Period(ends=tuple(instant(end, "SessionNotOnOrAfter") for end in ends if end is not None))


def _confirmation(element: Any) -> Confirmation:
    """Section 2.4.1.1.  One that names who may present it (BaseID, NameID) is for somebody who is known by other means than ours."""
    data = element.find(f"{_NS}SubjectConfirmationData")
    method = _METHODS.get(element.get("Method"), "another")
    if len(element) > (data is not None):
        method = "of a named party"
    if data is None:
        return Confirmation(method)
    return Confirmation(method, period(data), addressed=True, recipient=data.get("Recipient"), certificates=certificates_in(data))
