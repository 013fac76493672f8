"""What this fabric calls a person.  Pure; the only way from a provider's `sub` to the name that relations, tokens and revocations have.

draft-ietf-oauth-transaction-tokens-10: `sub` is not qualified by `iss`, and has to be unique within the trust domain.  OpenID Connect
Core section 2: a provider's `sub` is unique at that provider alone.  So a person's name is

    <namespace>::<sub>      of a provider whose fact has a namespace
    <sub>                   of the one whose namespace is empty

A `sub` of the latter that looks like a name of the former is nobody's, whether that namespace exists or not: it would become somebody
the day it does.  Two providers with one namespace name the same people, which `same_people_as` has to say: where it does not, neither
names anybody (the registry lets no such facts in; facts of before, or two commands at the same moment, may have put them there).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from schemas.facts import UserIssuer

SEPARATOR = "::"
MAX_NAME = 512  # of an entity in the graph
_NAMED = re.compile(rf"([a-z][a-z0-9-]{{0,31}}){SEPARATOR}(.*)", re.ASCII | re.DOTALL)
IDENTIFIER = re.compile(r"[!-~]{1,512}", re.ASCII)  # printable and without white space: it becomes `user:<sub>` in the graph


class NoPerson(ValueError):
    """Nobody can be named by this.  Its text says why, and repeats no `sub`."""


class Name(NamedTuple):
    """A person's name, taken apart."""

    namespace: str
    sub: str


def person_of(issuer: UserIssuer, sub: str, issuers: Iterable[UserIssuer]) -> str:
    """The person whom this provider calls `sub`, among all the providers of the fabric.  Raises NoPerson."""
    if any(other.namespace == issuer.namespace and population(other) != population(issuer) for other in issuers):
        raise NoPerson(f"{issuer.iss} and another provider name people alike: one needs a namespace of its own, or same_people_as")
    return named(issuer.namespace, sub)


def named(namespace: str, sub: str) -> str:
    """The name of a person of this namespace; no two pairs have the same.  Raises NoPerson."""
    if not IDENTIFIER.fullmatch(sub):
        raise NoPerson("sub is missing or not an identifier")
    if not namespace and parts_of(sub).namespace:
        raise NoPerson(f"sub looks like a name of another provider's namespace ({SEPARATOR})")
    name = f"{namespace}{SEPARATOR}{sub}" if namespace else sub
    if len(name) > MAX_NAME:
        raise NoPerson(f"sub is too long: a name has at most {MAX_NAME} characters")
    return name


def parts_of(name: str) -> Name:
    """The inverse of `named`."""
    found = _NAMED.fullmatch(name)
    return Name(found[1], found[2]) if found is not None and found[2] else Name("", name)


def population(issuer: UserIssuer) -> str:
    """Whose people it names: two providers with the same answer mean the same."""
    return issuer.same_people_as or issuer.iss


def provider_of(name: str, issuers: Iterable[UserIssuer]) -> tuple[UserIssuer, str] | None:
    """Who calls this person what; none where no provider does.  Of several with the same people, the one that the others name."""
    namespace, sub = parts_of(name)
    found = sorted((issuer for issuer in issuers if issuer.namespace == namespace), key=lambda one: (one.iss != population(one), one.iss))
    if not found or len({population(issuer) for issuer in found}) > 1:
        return None
    return found[0], sub


def alike(issuers: Iterable[UserIssuer]) -> Iterator[tuple[UserIssuer, UserIssuer]]:
    """Providers that have one namespace, without saying that they name the same people."""
    first: dict[str, UserIssuer] = {}
    for issuer in issuers:
        other = first.setdefault(issuer.namespace, issuer)
        if population(other) != population(issuer):
            yield other, issuer
