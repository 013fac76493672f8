"""Two providers whose people have nothing to do with each other, and whoever speaks of them."""

from __future__ import annotations

from typing import Any

from schemas.facts import Transmitter, TransmitterCeiling, UserIssuer
from tests.support.identities import Signer

SIGNER = Signer()  # of every provider here: what tells them apart is `iss`
LOGIN, PARTNER, MOVED = "https://login.88mph.com", "https://login.partner.example", "https://new.88mph.com"


def provider(iss: str = LOGIN, namespace: str = "", same: str | None = None, signer: Signer = SIGNER) -> UserIssuer:
    """A provider of people."""
    jwks = {"keys": [signer.jwk]}
    return UserIssuer(iss=iss, jwks=jwks, aud="https://fabric.88mph.com", namespace=namespace, same_people_as=same)


def speaker(iss: str, people: tuple[str, ...] | None = None, **changes: Any) -> Transmitter:
    """A transmitter whose word reaches people."""
    ceiling = TransmitterCeiling(namespaces=changes.pop("namespaces", ("spiffe://88mph.com",)), strongest="quarantine")
    made = {"aud": "a", "jwks": {"keys": [SIGNER.jwk]}, "trust": {"*": "high"}, "ceiling": ceiling, "people": people}
    return Transmitter(iss=iss, **{**made, **changes})  # type: ignore[arg-type]
