"""The broker's vault: what a custodian commands, and what the egress is released for one call.  No message holds a value in clear.

A value travels to the broker in a sealed box (X25519, XSalsa20-Poly1305: libsodium's crypto_box_seal) to the key that `VaultKey` names,
with the name, type and hosts it is meant for inside; it leaves sealed to the egress's one-time key.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import Compact, FreeText, Name, Opaque, Wire
from schemas.facts import Credential, Host
from schemas.sealed import B64u, SealedSecret

PREPARE_KEY = "org.weft.command.key.prepare.v1"
VAULT = "org.weft.command.vault.v1"
RELEASE = "org.weft.release.asked.v1"
RELEASED = "org.weft.release.answered.v1"

CredentialType = Literal["api_key", "client_secret", "refresh_token", "password"]
BoxKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]  # an X25519 public key, base64url

MIN_VALUE_BYTES = 8  # shorter ones could not be told from other text in an answer
MAX_VALUE_BYTES = 16_384


class PrepareKey(Wire):
    """By a custodian: make the next token key.  It signs once a fact says so."""

    id: Opaque


class Boxed(Wire):
    """What is inside the sealed box: the value, and what it was meant for."""

    name: Name
    type: CredentialType
    hosts: tuple[Host, ...]
    value: Annotated[
        str, StringConstraints(pattern=r"^[!-~]([ -~]*[!-~])?$", min_length=MIN_VALUE_BYTES, max_length=MAX_VALUE_BYTES), Field(repr=False)
    ]


class Kept(Wire):
    """One credential of a backup: the fact and its sealed versions."""

    fact: Credential
    versions: tuple[SealedSecret, ...]


class VaultCommand(Wire):
    """By a custodian.  `key`: the public key to seal to; `put`, `rotate`: a new credential, a new version; `use`: an older version that is
    kept; `delete`; `backup`, `restore`: one credential, sealed as it lies in the vault.
    """

    id: Opaque
    what: Literal["key", "put", "rotate", "use", "delete", "backup", "restore"]
    name: Name | None = None
    type: CredentialType = "api_key"
    hosts: Annotated[tuple[Host, ...], Field(max_length=16)] = ()
    box_key: BoxKey | None = None  # the one it was sealed to
    boxed: B64u | None = Field(default=None, repr=False)
    version: Annotated[int, Field(ge=1)] | None = None
    kept: Kept | None = None
    reason: FreeText | None = None


class Release(Wire):
    """By the egress, with the call's own token: the credential that this tool's record names, for this call."""

    token: Compact = Field(repr=False)
    tool: Name
    box_key: BoxKey  # one-time


class Released(Wire):
    """The value in a sealed box to that key."""

    boxed: B64u = Field(repr=False)
