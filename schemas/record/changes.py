"""What people and documents changed, or would have."""

from __future__ import annotations

from typing import Literal

from schemas.base import Digest, InstanceID, Name, Opaque, Seconds, Sequence, SpiffeIDText, Wire
from schemas.reasons import DenyReason

APPLIED = "org.weft.record.applied.v1"
APPROVED = "org.weft.record.approved.v1"
CUSTODY = "org.weft.record.custody.v1"
DOCUMENT = "org.weft.record.document.v1"


class Applied(Wire):
    """A set of changes was committed to FACTS, or refused."""

    person: str
    changes: tuple[str, ...]  # `<kind>/<key>`, at most 1,000
    revision: Sequence | None = None
    refused: DenyReason | None = None
    detail: str | None = None


class Approved(Wire):
    """A person was asked to let a request pass, or answered; or their answer was used."""

    id: Opaque
    agent: SpiffeIDText
    instance: InstanceID
    tool: Name
    digest: Digest  # of what is asked: agent, instance, person, tool, actions, purpose, arguments
    what: Literal["asked", "approved", "denied", "spent"]
    by: str  # the gateway's caller, the person's nkey, or the broker
    explanation: str | None = None  # of the refusal that asked
    reason: str | None = None
    expires_at: Seconds | None = None
    spent_on: Digest | None = None


class Custody(Wire):
    """What a custodian did with a credential or a token key, or was refused.  Never a value."""

    person: str
    what: str  # `key.prepared`, `credential.put` and so on
    name: Name | None = None
    version: int | None = None
    kid: str | None = None
    refused: DenyReason | None = None
    detail: str | None = None


class MetadataDocument(Wire):
    """The metadata document of a registered client or tool is another than the one that was accepted."""

    about: str  # the client's id, or `tool/<name>`
    document: Digest
    accepted: Digest | None = None
