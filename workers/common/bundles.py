"""Trust bundles: which keys may sign JWT-SVIDs of which trust domain.  SPIFFE Trust Domain and Bundle sections 3 and 4.

A bundle belongs to one trust domain and is never merged with another's.  `TrustBundles` is the port; `FactBundles` reads the
`svid` keys among the facts, `StaticBundles` holds what `parse_bundle` read from SPIFFE bundle documents.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

from weft.digest import canonical

from schemas.facts import Key, KeyPurpose
from workers.common.jose import MAX_KID_CHARS, KeyRefused, PublicKey, public_key

Assurance = Literal["development", "production"]
MAX_BUNDLE_BYTES = 1_048_576


class BundleRefused(ValueError):
    """Not a SPIFFE bundle."""


@dataclass(frozen=True, slots=True)
class SVIDKey:
    """A key that signs JWT-SVIDs, and how much that says: a development issuer's word is worth less."""

    key: PublicKey
    assurance: Assurance


class TrustBundles(Protocol):
    """The bundles of several trust domains at once."""

    def svid_key(self, trust_domain: str, kid: str) -> SVIDKey | None:
        """The key of that name in the bundle of exactly this trust domain."""


class KeyFacts(Protocol):
    """What of the facts is read."""

    def keys(self, purpose: KeyPurpose) -> Iterable[Key]:
        """The key facts of one purpose."""


class FactBundles:
    """The active `svid` keys of the facts view.  A key that this process cannot read is as good as absent."""

    def __init__(self, facts: KeyFacts) -> None:
        self._facts = facts

    def svid_key(self, trust_domain: str, kid: str) -> SVIDKey | None:
        """See TrustBundles."""
        for fact in self._facts.keys("svid"):
            if fact.kid == kid and fact.trust_domain == trust_domain and fact.state == "active":
                key = cached_key(fact.jwk)
                return None if key is None else SVIDKey(key, fact.assurance)
        return None


class StaticBundles:
    """Bundles that were read once, by trust domain."""

    def __init__(self, bundles: Mapping[str, Mapping[str, PublicKey]], assurance: Assurance = "production") -> None:
        self._keys = {(domain, kid): SVIDKey(key, assurance) for domain, keys in bundles.items() for kid, key in keys.items()}

    def svid_key(self, trust_domain: str, kid: str) -> SVIDKey | None:
        """See TrustBundles."""
        return self._keys.get((trust_domain, kid))


def parse_bundle(raw: bytes) -> dict[str, PublicKey]:
    """The `jwt-svid` keys of a SPIFFE bundle document, by `kid`.  Raises BundleRefused.

    An element of unknown or missing `kty` or `use` is ignored, as section 4.2 asks; empty `keys` is a bundle that trusts nothing.  A
    `jwt-svid` element without a `kid` or with one that occurred before breaks a MUST and refuses the document.
    """
    if len(raw) > MAX_BUNDLE_BYTES:
        raise BundleRefused(f"longer than {MAX_BUNDLE_BYTES} bytes")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise BundleRefused("not JSON") from None
    elements = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(elements, list):
        raise BundleRefused("no keys")
    found: dict[str, PublicKey] = {}
    for element in elements:
        if isinstance(element, dict) and element.get("use") == "jwt-svid" and element.get("kty") in ("EC", "RSA"):
            kid = _kid(element)
            if kid in found:
                raise BundleRefused("a kid occurs twice")
            found[kid] = _element_key(element)
    return found


def _kid(element: Mapping[str, Any]) -> str:
    kid = element.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_CHARS:
        raise BundleRefused("a jwt-svid key has no kid")
    return kid


def _element_key(element: Mapping[str, Any]) -> PublicKey:
    try:
        return public_key(element)
    except KeyRefused as error:
        raise BundleRefused(f"a jwt-svid key is {error}") from None


def cached_key(jwk: Mapping[str, Any]) -> PublicKey | None:
    """The key of a JWK from the facts, read once."""
    try:
        return _read(canonical(dict(jwk)))
    except (ValueError, TypeError):
        return None


@lru_cache(maxsize=256)
def _read(jwk: bytes) -> PublicKey:
    return public_key(json.loads(jwk))
