"""Of whom a transmitter may speak, and whom it means.  Pure.  RFC 9493 section 3.2.

A transmitter speaks of the people of the providers that its fact lists (`people`); where it lists none, of its own, being a provider
itself; else of everybody where all providers name the same people, and of nobody where they do not.

| format | whom it names |
|---|---|
| `iss_sub` | whom that very provider calls so |
| `email` | whose `sub` it is, where the transmitter speaks of one provider's people alone |
| `aliases` | the first of its identifiers that names somebody, `iss_sub` before `email` |
| `account`, `opaque`, `phone_number`, `did`, `uri` and others | nobody: no token of a person says them |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.facts import Transmitter, UserIssuer
from schemas.subject_ids import AliasesSubject, AnySubject, EmailSubject, IssSubSubject
from workers.common.people import NoPerson, named, person_of


@dataclass(frozen=True, slots=True)
class Speaker:
    """A transmitter, beside the providers of the fabric."""

    transmitter: Transmitter
    issuers: Sequence[UserIssuer]

    @property
    def namespaces(self) -> frozenset[str]:
        """Of the people it may speak of."""
        listed, own = self.transmitter.people, self.transmitter.iss
        if listed is not None:
            return frozenset(issuer.namespace for issuer in self.issuers if issuer.iss in listed)
        if any(issuer.iss == own for issuer in self.issuers):
            return frozenset(issuer.namespace for issuer in self.issuers if issuer.iss == own)
        everybody = frozenset(issuer.namespace for issuer in self.issuers) or frozenset({""})
        return everybody if len(everybody) == 1 else frozenset()

    def person(self, subject: AnySubject) -> str | None:
        """As tokens and relations name them; none where it names nobody of whom this transmitter may speak."""
        try:
            return self._person(subject)
        except NoPerson:
            return None

    def _person(self, subject: AnySubject) -> str | None:
        match subject:
            case IssSubSubject():
                issuer = next((issuer for issuer in self.issuers if issuer.iss == subject.iss), None)
                known = issuer is not None and issuer.namespace in self.namespaces
                return person_of(issuer, subject.sub, self.issuers) if issuer is not None and known else None
            case EmailSubject() if len(self.namespaces) == 1:
                return self._called(next(iter(self.namespaces)), subject.email)
            case AliasesSubject():
                certain_first = sorted(subject.identifiers, key=lambda one: not isinstance(one, IssSubSubject))
                return next((person for one in certain_first if (person := self.person(one)) is not None), None)
            case _:
                return None

    def _called(self, namespace: str, sub: str) -> str:
        issuer = next((issuer for issuer in self.issuers if issuer.namespace == namespace), None)
        return named(namespace, sub) if issuer is None else person_of(issuer, sub, self.issuers)
