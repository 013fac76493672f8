"""Whom an event is about.  RFC 9493 section 3.2 (subject identifiers), SSF 1.0 section 3 (its own formats, complex subjects, matching).

Read leniently, as receivers must: members that nobody defined are ignored.  SPIFFE IDs are `uri`.  Weft's profile of the complex
subject (SSF 1.0 section 3.2 allows further names) adds `workload`, a SPIFFE ID; `instance`, one running process of it; and
`transaction`, the `txn` of a Transaction Token: docs/contracts/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from schemas.base import Wire

Text = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


class Lenient(Wire):
    """Receivers ignore members they do not understand (RFC 8417 section 2)."""

    model_config = ConfigDict(extra="ignore")


def _ip(text: str) -> str:
    ip_address(text)  # a ValueError is the refusal; the text stays as it was said
    return text


class AccountSubject(Lenient):
    """RFC 9493 section 3.2.1: an `acct` URI (RFC 7565)."""

    format: Literal["account"]
    uri: Annotated[str, StringConstraints(pattern=r"^acct:[^\s]+$", max_length=2048)]


class EmailSubject(Lenient):
    """RFC 9493 section 3.2.2."""

    format: Literal["email"]
    email: Annotated[str, StringConstraints(pattern=r"^[^\s@]+@[^\s@]+$", max_length=320)]


class IssSubSubject(Lenient):
    """RFC 9493 section 3.2.3."""

    format: Literal["iss_sub"]
    iss: Text
    sub: Text


class OpaqueSubject(Lenient):
    """RFC 9493 section 3.2.4."""

    format: Literal["opaque"]
    id: Text


class PhoneNumberSubject(Lenient):
    """RFC 9493 section 3.2.5: E.164 with the international prefix."""

    format: Literal["phone_number"]
    phone_number: Annotated[str, StringConstraints(pattern=r"^\+[0-9]{1,15}$")]


class DIDSubject(Lenient):
    """RFC 9493 section 3.2.6: a DID or a DID URL."""

    format: Literal["did"]
    url: Annotated[str, StringConstraints(pattern=r"^did:[a-z0-9]+:[^\s]+$", max_length=2048)]


class UriSubject(Lenient):
    """RFC 9493 section 3.2.7: RFC 3986, with its scheme."""

    format: Literal["uri"]
    uri: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s]*$", max_length=2048)]


class JWTIDSubject(Lenient):
    """SSF 1.0 section 3.4.1."""

    format: Literal["jwt_id"]
    iss: Text
    jti: Text


class SAMLAssertionIDSubject(Lenient):
    """SSF 1.0 section 3.4.2."""

    format: Literal["saml_assertion_id"]
    issuer: Text
    assertion_id: Text


class IPAddressesSubject(Lenient):
    """SSF 1.0 section 3.4.3."""

    format: Literal["ip-addresses"]
    ip_addresses: Annotated[tuple[Annotated[str, AfterValidator(_ip)], ...], Field(alias="ip-addresses", min_length=1)]


_One = (
    AccountSubject
    | EmailSubject
    | IssSubSubject
    | OpaqueSubject
    | PhoneNumberSubject
    | DIDSubject
    | UriSubject
    | JWTIDSubject
    | SAMLAssertionIDSubject
    | IPAddressesSubject
)


class AliasesSubject(Lenient):
    """RFC 9493 section 3.2.8: several identifiers of one subject, none of them `aliases` again."""

    format: Literal["aliases"]
    identifiers: Annotated[tuple[Annotated[_One, Field(discriminator="format")], ...], Field(min_length=1, max_length=64)]


Simple = Annotated[_One | AliasesSubject, Field(discriminator="format")]
SIMPLE_FORMATS = frozenset(
    {
        "account",
        "email",
        "iss_sub",
        "opaque",
        "phone_number",
        "did",
        "uri",
        "jwt_id",
        "saml_assertion_id",
        "ip-addresses",
        "aliases",
    }
)
STANDARD_MEMBERS = ("user", "device", "session", "application", "tenant", "org_unit", "group")  # SSF 1.0 section 3.2
PROFILE_MEMBERS = ("workload", "instance", "transaction")


class ComplexSubject(Wire):
    """SSF 1.0 section 3.2: simple subjects by name, which together describe one principal.

    A name that neither SSF nor Weft defines is kept where its value is a simple subject, and ignored where it is anything else.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Simple]

    format: Literal["complex"]
    user: Simple | None = None
    device: Simple | None = None
    session: Simple | None = None
    application: Simple | None = None
    tenant: Simple | None = None
    org_unit: Simple | None = None
    group: Simple | None = None
    workload: UriSubject | None = None
    instance: OpaqueSubject | None = None
    transaction: OpaqueSubject | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_what_nobody_reads(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: member for name, member in value.items() if name in cls.model_fields or _readable(member)}

    @model_validator(mode="after")
    def _of_someone(self) -> ComplexSubject:
        if not self.members():
            raise ValueError("a complex subject has at least one member")
        return self

    def members(self) -> dict[str, Any]:
        """Its simple subjects by name, those that are there."""
        named = {name: getattr(self, name) for name in (*STANDARD_MEMBERS, *PROFILE_MEMBERS)}
        return {name: member for name, member in {**named, **(self.__pydantic_extra__ or {})}.items() if member is not None}


def _readable(member: object) -> bool:
    """As data or as a model: a simple subject in a format we read."""
    said = member.get("format") if isinstance(member, Mapping) else getattr(member, "format", None)
    return isinstance(said, str) and said in SIMPLE_FORMATS


SubjectID = Annotated[_One | AliasesSubject | ComplexSubject, Field(discriminator="format")]
AnySubject = _One | AliasesSubject | ComplexSubject


class SubjectHolder(Wire):
    """One subject identifier by itself, for where it is read outside a message."""

    subject: SubjectID


def parse_subject(said: object) -> AnySubject:
    """A subject identifier as JSON data.  Raises ValueError (pydantic's), whose text never quotes it."""
    return SubjectHolder.model_validate({"subject": said}, strict=False).subject


def person_in(said: str) -> dict[str, str]:
    """A person as people write them, as JSON data: `ISSUER#SUB` is `iss_sub`, everything else `email`."""
    iss, mark, sub = said.partition("#")
    return {"format": "iss_sub", "iss": iss, "sub": sub} if mark and "://" in iss else {"format": "email", "email": said}


def complex_of(**members: Simple) -> ComplexSubject:
    """A complex subject of these members."""
    return ComplexSubject.model_validate({"format": "complex", **members})


def matches(added: AnySubject, of_event: AnySubject) -> bool:
    """Whether an event about `of_event` belongs to a stream that `added` was added to.  SSF 1.0 section 8.1.3.1.

    Simple subjects match where they are identical.  Complex ones where every member name is absent in either or identical in both.
    A simple and a complex subject never match.
    """
    if isinstance(added, ComplexSubject) and isinstance(of_event, ComplexSubject):
        ours, theirs = added.members(), of_event.members()
        return all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys())
    return added == of_event
