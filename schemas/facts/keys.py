"""Public keys, and the credentials in the broker's vault.  Never a secret."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from schemas.base import Digest, Name, Opaque, Seconds, Wire
from schemas.facts.kinds import Kind

KeyPurpose = Literal["tokens", "revocation", "signals", "signals-rs256", "svid", "checkpoint", "status"]


class Key(Wire):
    """A public key of the fabric, or of a trust domain (`svid`).  Key: purpose and `kid`."""

    kind: Literal[Kind.KEY] = Kind.KEY
    purpose: KeyPurpose
    kid: Opaque
    jwk: dict[str, Any]
    trust_domain: str
    assurance: Literal["development", "production"] = "production"
    state: Literal["active", "retired", "compromised"] = "active"
    not_before: Seconds = 0  # signs from then on; published earlier, so that everybody knows it by then
    not_after: Seconds | None = None  # signs until then; what it signed is verified until the last of it has expired


Host = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]{1,253}(:[0-9]{1,5})?$|^\[[0-9a-f:.]{2,45}\](:[0-9]{1,5})?$")]


class CredentialVersion(Wire):
    """One version: which sealed value it is, and since when."""

    version: Annotated[int, Field(ge=1)]
    digest: Digest  # of the sealed value
    at: Seconds


class Credential(Wire):
    """What a tool really needs (an API key, a client secret, a refresh token), without its value: that lies sealed in the broker's vault,
    and leaves it for the egress alone, for tools whose upstream is one of `hosts`.  Key: the name.
    """

    kind: Literal[Kind.CREDENTIAL] = Kind.CREDENTIAL
    name: Name
    type: Literal["api_key", "client_secret", "refresh_token", "password"] = "api_key"
    hosts: Annotated[tuple[Host, ...], Field(min_length=1, max_length=16)]
    current: Annotated[int, Field(ge=1)]  # the version in use
    versions: tuple[CredentialVersion, ...]  # that the vault keeps, oldest first
