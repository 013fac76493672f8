"""Keys of facts: from a fact to its subject `weft.fact.<kind>.<key>` and back.

Every key follows from the fact's own body, so a body under a foreign key is not believed (`read_fact`).
"""

from __future__ import annotations

from typing import assert_never

from pydantic import ValidationError
from weft.digest import sha256
from weft.spiffeid import SpiffeID

from schemas.envelope import CloudEvent
from schemas.facts import (
    FACT,
    Agent,
    Approval,
    AuthorizationServer,
    Client,
    Credential,
    Detection,
    EventStream,
    Fact,
    FactBody,
    Key,
    Kind,
    Namespace,
    Pending,
    Person,
    Point,
    Policy,
    Posture,
    Relation,
    ResponsePolicy,
    Subscription,
    Tool,
    Transmitter,
    UserIssuer,
)
from streams import subjects

MAX_FACT_BYTES = 131_072  # a policy's text is the largest, 64 KiB before JSON's escapes
_KINDS = {kind.value: kind for kind in Kind}
_EVENT = CloudEvent[Fact]


def key_of(body: FactBody) -> str:  # noqa: C901, PLR0911, PLR0912 - one line per kind
    """The key that belongs to this body."""
    match body:
        case Agent():
            return SpiffeID.parse(body.id).subject
        case Namespace():
            return SpiffeID.parse(body.prefix).subject
        case Tool() | Policy() | ResponsePolicy() | Detection() | AuthorizationServer() | Credential() | Subscription():
            return body.name
        case Relation():
            return subjects.relation_key(body.subject, body.relation, body.object)
        case Posture():
            return posture_key(body.scope, body.target)
        case Person():
            return body.nkey
        case Transmitter() | UserIssuer():
            return sha256(body.iss)
        case Key():
            return f"{body.purpose}.{body.kid}"
        case Client():
            return sha256(body.client_id)
        case Point():
            return body.name
        case EventStream():
            return body.stream_id
        case Approval():
            return f"{SpiffeID.parse(body.agent).subject}.{body.slot}"
        case Pending():
            return f"{sha256(body.iss)}.{body.slot}"
        case never:
            assert_never(never)


def posture_key(scope: str, target: str) -> str:
    """The key of a posture: its scope and its target's digest."""
    return f"{scope}.{target}"


def subject_of(kind: Kind, key: str) -> str:
    """The subject of a fact; raises ValueError for a key that would widen or break it."""
    return subjects.FACT.at(kind.value, key)


def place_of(subject: str) -> tuple[Kind, str] | None:
    """The inverse of `subject_of`; none where the subject names no kind we know."""
    prefix = subjects.FACT.prefix + "."
    name, _, key = subject[len(prefix) :].partition(".")
    kind = _KINDS.get(name)
    return (kind, key) if kind is not None and key and subject.startswith(prefix) else None


def read_fact(kind: Kind, key: str, body: bytes) -> Fact | None:
    """The fact in a message under this kind and key; none where it cannot be believed, for whatever reason."""
    if len(body) > MAX_FACT_BYTES:
        return None
    try:
        event = _EVENT.model_validate_json(body)
        fact = event.data
        if event.type != FACT or fact.kind is not kind or fact.key != key:
            return None
        if fact.body is not None and (fact.body.kind is not kind or key_of(fact.body) != key):
            return None
    except (ValidationError, ValueError, RecursionError):
        return None
    return fact
