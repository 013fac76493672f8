"""What the broker keeps, as it lies on a disk or travels between brokers: encrypted under a data key of its own, which a key-encryption key
wraps (envelope encryption, NIST SP 800-57 part 1 section 6.2; AES-256-GCM, NIST SP 800-38D).  Nothing here opens without that key.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from schemas.base import Digest, Name, Opaque, Seconds, Wire

ASKED = "org.weft.sealed.asked.v1"
ANSWERED = "org.weft.sealed.answered.v1"

B64u = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=65_536)]


class Sealed(Wire):
    """One value.  `kek` names the key-encryption key; the context that the value belongs to is authenticated, and not in here."""

    kek: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    wrapped: B64u  # the data key
    nonce: B64u
    ciphertext: B64u


class SealedKey(Wire):
    """A signing key: what of it is public, and the private half sealed.  The file `broker/tokens/<kid>.json`."""

    kid: Digest  # RFC 7638 thumbprint
    jwk: dict[str, Any]  # public, RFC 7517
    at: Seconds  # made
    sealed: Sealed


class SealedSecret(Wire):
    """One version of a credential."""

    name: Name
    version: Annotated[int, Field(ge=1)]
    sealed: Sealed


class SealedAsked(Wire):
    """`data` of `ASKED`, from one broker to the others: who has this?"""

    what: Literal["key", "credential"]
    kid: Opaque | None = None
    name: Name | None = None
    digest: Digest | None = None


class SealedAnswer(Wire):
    """`data` of `ANSWERED`: by one that has it; the others stay silent."""

    key: SealedKey | None = None
    credential: SealedSecret | None = None
