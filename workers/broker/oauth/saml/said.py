"""What an assertion says, in either version's words, and how single values of it are read."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workers.broker.oauth.saml.signed import DS, refused

_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z", re.ASCII)  # SAML 2.0 core section 1.3.3: UTC

BEARER, HOLDER_OF_KEY = "bearer", "holder-of-key"


@dataclass(frozen=True, slots=True)
class Period:
    """Instants of `NotBefore` and `NotOnOrAfter`, whole seconds; where several stand, all count."""

    begins: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()

    def and_(self, other: Period) -> Period:
        return Period(self.begins + other.begins, self.ends + other.ends)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How whoever presents it may show that it is theirs to present, SAML 2.0 core section 2.4.1.1."""

    method: str  # `bearer`, `holder-of-key`, else the URI
    period: Period = Period()
    addressed: bool = False  # whether it holds SubjectConfirmationData
    recipient: str | None = None
    certificates: tuple[bytes, ...] = ()  # DER, of holder-of-key


@dataclass(frozen=True, slots=True)
class Name:
    """SAML 2.0 core section 2.2.2; NameIdentifier of SAML 1.1."""

    text: str
    format: str | None = None
    qualifier: str | None = None  # whose name it is
    sp_qualifier: str | None = None  # for whom


@dataclass(frozen=True, slots=True)
class Said:
    """All that is read of an assertion.  The rest (attributes, authentication context, advice) gives no right here."""

    id: str
    issuer: str
    issued: int
    name: Name
    period: Period
    restrictions: tuple[frozenset[str], ...]  # audiences: one of each
    subjects: tuple[tuple[Confirmation, ...], ...]  # of each subject one has to hold


def only(element: Any, tag: str) -> Any:
    """The one child of this name.  Raises IdentityRefused."""
    found = element.findall(tag)
    if len(found) != 1:
        raise refused(f"has no {_short(tag)}, or more than one")
    return found[0]


def text_in(element: Any) -> str:
    """Its text, all of it: an element that holds elements holds no text.  Raises IdentityRefused."""
    if len(element) or not element.text:
        raise refused(f"has a {_short(element.tag)} that is not text")
    return str(element.text)


def instant(text: str | None, what: str) -> int:
    """Seconds since the epoch, of xs:dateTime in UTC.  Raises IdentityRefused."""
    found = _INSTANT.fullmatch(text or "")
    if found is not None:
        with suppress(ValueError):  # the 30th of February
            return int(datetime.fromisoformat(f"{found[1]}+00:00").timestamp())
    raise refused(f"has no {what}, or not in UTC")


def period(element: Any) -> Period:
    """Of an element with the two attributes.  Raises IdentityRefused."""
    begins, ends = (() if element.get(name) is None else (instant(element.get(name), name),) for name in ("NotBefore", "NotOnOrAfter"))
    return Period(begins, ends)


def _short(tag: str) -> str:
    return tag.rpartition("}")[2]


def certificates_in(element: Any) -> tuple[bytes, ...]:
    """DER of the certificates that a KeyInfo below names (XML Signature 1.1 section 4.5.4); other forms of key are not read."""
    try:
        return tuple(b64decode("".join(text_in(one).split()), validate=True) for one in element.iter(f"{{{DS}}}X509Certificate"))
    except binascii.Error:
        raise refused("holds a certificate that is none") from None
