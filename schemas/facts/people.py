"""People, who names them, and how they are related to what is here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from schemas.base import Seconds, SpiffeIDText, Wire
from schemas.facts.kinds import Kind, Patterns, State
from schemas.saml import SAMLCertificate

Role = Literal["registrar", "approver", "revoker", "auditor", "transmitter", "custodian"]


class Grant(Wire):
    """A role over a namespace and everything below it."""

    role: Role
    namespace: SpiffeIDText


class Person(Wire):
    """An operator.  Key: the public user nkey."""

    kind: Literal[Kind.PERSON] = Kind.PERSON
    nkey: Annotated[str, StringConstraints(pattern=r"^U[A-Z2-7]{55}$")]
    name: str
    user: str | None = None  # the same human as relations name them (`user:<name>`): workers.common.people
    roles: tuple[Grant, ...]
    state: State = "active"


PeopleNamespace = Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9-]{0,31})?$")]  # of the names of one provider's people


class UserIssuer(Wire):
    """A provider whose tokens name people: OpenID (`jwks`), SAML (`saml_certificates`), or both.  Key: SHA-256 of `iss`.

    A person is called `<namespace>::<sub>` in this fabric, or `<sub>` where the namespace is empty (workers.common.people).
    """

    kind: Literal[Kind.ISSUER] = Kind.ISSUER
    iss: str  # of SAML its entity ID
    jwks: dict[str, Any] = {}
    aud: str  # this fabric, as the issuer names it; of SAML the fabric's entity ID
    saml_certificates: Annotated[tuple[SAMLCertificate, ...], Field(max_length=4)] = ()  # what its assertions are signed with
    namespace: PeopleNamespace = ""  # no other provider's, but for:
    same_people_as: str | None = None  # `iss` of the provider whose `sub`s mean the very same people: both have its namespace


Entity = Annotated[str, StringConstraints(pattern=r"^(user|team|toolgroup|tool|agent|namespace):[^\s]{1,512}$")]


class Relation(Wire):
    """One edge of the relationship graph.  Key: SHA-256 of subject, relation and object."""

    kind: Literal[Kind.RELATION] = Kind.RELATION
    subject: Entity
    relation: Literal["member_of", "operates", "contains", "delegates_to", "may_delegate_to", "may_approve"]
    object: Entity
    actions: Patterns = ("*",)  # with `operates`, `delegates_to` and `may_delegate_to`: which
    purposes: Patterns = ("*",)  # with `delegates_to`, which is a person's consent: for what
    expires_at: Seconds | None = None
