"""Whether an assertion says it to us, now: the processing rules of RFC 7522 section 3, for SAML 1.1 in its own words.  Pure.

1. Its issuer is a provider among the facts, and what is read was signed by it (`signed`).  2. Made by now, at most ten minutes ago,
within every `NotBefore` and `NotOnOrAfter`, the session's included.  3. Each audience restriction names this fabric or the client.
4. Each subject may be presented so: as a bearer, to a recipient that is this fabric or the client; or by the holder of a certificate
that this connection showed.  5. A name of a person that lasts, not a pseudonym for another service.

NOT checked: `Address` (the browser's, and here a service asks), `InResponseTo` (the client's business, who asked), attributes and the
authentication context (they give no right here), the certificate's own period (`schemas.saml`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from weft.digest import b64u, sha256

from schemas.facts import UserIssuer
from workers.broker.oauth.clients import Once
from workers.broker.oauth.saml import saml1, saml2
from workers.broker.oauth.saml.said import BEARER, HOLDER_OF_KEY, Confirmation, Name, Period, Said
from workers.broker.oauth.saml.signed import SAML1, SAML2, issuer_of, parse_assertion, refused, signed_by
from workers.common.credentials import SKEW_S

MAX_AGE_S = 600  # it counts once, and CLAIMS remembers for 15 minutes
_READ = {"saml1": (SAML1, saml1.read), "saml2": (SAML2, saml2.read)}
_NOBODY = frozenset(
    (
        "urn:oasis:names:tc:SAML:2.0:nameid-format:transient",  # another name each time: nobody whom facts could know
        "urn:oasis:names:tc:SAML:2.0:nameid-format:entity",  # a system
        "urn:oasis:names:tc:SAML:2.0:nameid-format:encrypted",
    )
)


class Issuers(Protocol):
    """The providers that the facts name."""

    def issuer(self, iss: str) -> UserIssuer | None:
        """By its exact `iss`."""


@dataclass(frozen=True, slots=True)
class Presenter:
    """Who shows it: the names that this fabric and the client have for others, and the certificate of the connection."""

    names: frozenset[str]
    x5t: str | None


@dataclass(frozen=True, slots=True)
class Assertion:
    """One that holds, until `exp`.  It counts one time, also where another confirmation of it would hold for longer."""

    issuer: UserIssuer
    name: str
    exp: int
    once: Once


def verify_assertion(
    unverified_token: str, type_: Literal["saml1", "saml2"], issuers: Issuers, presenter: Presenter, now: float
) -> Assertion:
    """Raises IdentityRefused; its detail repeats nothing of the assertion."""
    namespace, read = _READ[type_]
    root = parse_assertion(unverified_token, namespace)
    issuer = issuers.issuer(issuer_of(root))  # 1
    if issuer is None or not issuer.saml_certificates:
        raise refused("is of no known issuer")
    said = read(signed_by(root, issuer.saml_certificates))
    if said.issuer != issuer.iss:
        raise refused("is of no known issuer")
    names = presenter.names | {issuer.aud}
    confirmed = _confirmed(said, names, presenter.x5t, now)
    exp = _life(said, confirmed, now)  # 2
    if not said.restrictions or not all(restriction & names for restriction in said.restrictions):  # 3
        raise refused("is neither for this fabric nor for this client")
    _check_name(said.name, issuer, names)  # 5
    once = Once(sha256(f"saml\0{issuer.iss}\0{said.id}"), said.issued + MAX_AGE_S)
    return Assertion(issuer, said.name.text, exp, once)


def _life(said: Said, confirmed: Iterable[Period], now: float) -> int:
    """Until when it holds.  Something has to end it, and nothing that it says makes it live longer than it is remembered."""
    period = said.period
    for other in confirmed:
        period = period.and_(other)
    if not period.ends:
        raise refused("says nowhere when it ends (NotOnOrAfter)")
    exp = min(*period.ends, said.issued + MAX_AGE_S)
    if now >= exp:
        raise refused(f"has expired, or was made more than {MAX_AGE_S} seconds ago")
    if max(said.issued, *period.begins, 0) > now + SKEW_S:
        raise refused("is of the future (IssueInstant, NotBefore)")
    return exp


# --- 4: who may present it --------------------------------------------------------------------------------------------------------


def _confirmed(said: Said, names: frozenset[str], x5t: str | None, now: float) -> tuple[Period, ...]:
    """For each subject the period of the first confirmation that holds."""
    return tuple(_first(subject, names, x5t, now) for subject in said.subjects)


def _first(confirmations: tuple[Confirmation, ...], names: frozenset[str], x5t: str | None, now: float) -> Period:
    for confirmation in confirmations:
        if _holds(confirmation, names, x5t) and _within(confirmation.period, now):
            return confirmation.period
    raise refused("may not be presented by this client, so, now (SubjectConfirmation)")


def _holds(confirmation: Confirmation, names: frozenset[str], x5t: str | None) -> bool:
    if confirmation.recipient is not None and not _ours(confirmation.recipient, names):
        return False
    if confirmation.method == BEARER:  # SubjectConfirmationData names the recipient, wherever it stands (RFC 7522)
        return not confirmation.addressed or confirmation.recipient is not None
    return confirmation.method == HOLDER_OF_KEY and x5t in {_x5t(der) for der in confirmation.certificates}


def _within(period: Period, now: float) -> bool:
    return all(now < end for end in period.ends) and all(begin <= now + SKEW_S for begin in period.begins)


def _ours(recipient: str, names: frozenset[str]) -> bool:
    """An endpoint is a URL below the name: the token endpoint below our issuer, a consumer service below its application."""
    return any(recipient == name or (":" in name and recipient.startswith(name.rstrip("/") + "/")) for name in names)


def _x5t(der: bytes) -> str:
    return b64u(hashlib.sha256(der).digest())


# --- 5: whom it names -------------------------------------------------------------------------------------------------------------


def _check_name(name: Name, issuer: UserIssuer, names: frozenset[str]) -> None:
    """SAML 2.0 core sections 2.2.2 and 8.3."""
    if name.format in _NOBODY:
        raise refused("names nobody who could be known (the format of its NameID)")
    if name.qualifier not in (None, "", issuer.iss):
        raise refused("has a name of another provider (NameQualifier)")
    if name.sp_qualifier not in (None, "", *names):
        raise refused("has a name that is for another service (SPNameQualifier)")
