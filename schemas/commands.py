"""What a person commands or asks.  Who it is, the server attests (the connection's name is the person's nkey); roles are facts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.base import FreeText, Name, Opaque, Seconds, Sequence, SpiffeIDText, Wire
from schemas.facts import FactBody, Kind

APPLY = "org.weft.command.apply.v1"
APPLIED = "org.weft.command.applied.v1"  # answers it
REVOKE = "org.weft.command.revoke.v1"
SWEEP = "org.weft.command.sweep.v1"
LIFT = "org.weft.command.lift.v1"
RESOLVE = "org.weft.command.resolve.v1"
APPROVE = "org.weft.command.approve.v1"
WAITING = "org.weft.command.waiting.v1"  # asks for what waits: for approvals at the registry, for pending responses at signals
QUERY = "org.weft.query.v1"
ANSWER = "org.weft.answer.v1"
FAILED = "org.weft.failed.v1"
CUT_ORDERED = "org.weft.connection.cut.ordered.v1"


class Change(Wire):
    """Put or delete one fact.  `expected` is the revision of the fact that the writer saw; 0: it must not exist; none: whatever it is."""

    kind: Kind
    key: str
    body: FactBody | None = None
    expected: Sequence | None = None


class Apply(Wire):
    """One atomic batch."""

    changes: Annotated[tuple[Change, ...], Field(min_length=1, max_length=1000)]
    reason: FreeText | None = None
    plan_only: bool = False


class PlanLine(Wire):
    """One line of a plan."""

    kind: Kind
    key: str
    action: Literal["create", "change", "delete", "unchanged"]
    fields: tuple[str, ...] = ()


class Applied(Wire):
    """The answer."""

    plan: tuple[PlanLine, ...]
    revision: Sequence | None = None  # none: plan only
    warnings: tuple[str, ...] = ()  # sentences about what is allowed and worth a second look


class Revoke(Wire):
    """By a revoker.  Instances, agents, users and namespaces get a posture; tokens, transactions and keys an entry alone."""

    id: Opaque
    kind: Literal["token", "transaction", "instance", "agent", "namespace", "user", "key"]
    value: str
    agent: SpiffeIDText | None = None  # whose instance, token or transaction; what counts of the latter two is what `record` tells
    record: Sequence | None = None  # of the event that the token, or one of the transaction, was issued with; none: over the trust domain
    reason: FreeText
    preview: bool = False


class Swept(Wire):
    """One target of a sweep; `agent` and `record` as in `Revoke`."""

    kind: Literal["token", "transaction", "key"]
    value: str
    agent: SpiffeIDText | None = None
    record: Sequence | None = None


class Sweep(Wire):
    """By a revoker: many tokens at once, as one entry.  All of it or nothing."""

    id: Opaque
    targets: Annotated[tuple[Swept, ...], Field(min_length=1, max_length=128)]
    reason: FreeText


class Lift(Wire):
    """By a revoker: an operator lifts anything."""

    id: Opaque
    scope: Literal["instance", "agent", "namespace", "user", "transaction"]
    value: str
    agent: SpiffeIDText | None = None
    record: Sequence | None = None  # of a transaction, as in `Revoke`
    reason: FreeText


class Resolve(Wire):
    """By a revoker: what waits beyond a transmitter's ceiling is done, or is not."""

    id: Opaque
    verdict: Literal["confirm", "dismiss"]
    reason: FreeText


class Approve(Wire):
    """By whoever may approve, and is not the person it is done for: this one request passes once, or does not."""

    id: Opaque
    verdict: Literal["approve", "deny"]
    reason: FreeText


class Waiting(Wire):
    """What waits for this person; with `all`, what was answered before too, as long as its slot holds it."""

    all: bool = False


class Query(Wire):
    """One question to audit or registry; which arguments count is said in docs/contracts."""

    what: Literal["get", "list", "history", "can", "explain", "replay", "verify", "points", "status", "reach", "find", "tainted"]
    kind: Kind | None = None
    key: str | None = None
    id: str | None = None  # txn, explanation id
    types: tuple[str, ...] = ()  # of a replay: these event types; none: all
    after: Sequence = 0  # go on after this row; the `next` of the page before
    revision: Sequence = 0  # of a verify: the `revision` of the page before
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    wait_s: Annotated[float, Field(ge=0, le=5)] = 0
    agent: SpiffeIDText | None = None
    tool: Name | None = None
    actions: tuple[str, ...] = ()
    purpose: str | None = None
    target: Literal["token", "transaction", "instance", "agent", "namespace", "user", "key"] | None = (
        None  # of a reach: what would be revoked
    )
    taint: Literal["key", "tool", "agent_version", "model_digest"] | None = None  # of a tainted: what turned out to be bad
    value: str | None = None  # of both; of a find: the jti, txn, instance or explanation id of a token, or the digest of one of these
    since: Seconds = 0  # of a tainted: bad since then
    live: bool = False  # of a tainted: only what could still be used
    user: str | None = None


class Answer(Wire):
    """`rows` are plain data, as documented per question."""

    rows: tuple[dict[str, Any], ...]
    next: Sequence | None = None
    revision: Sequence | None = None


class CutOrder(Wire):
    """`data` of `CUT_ORDERED`, between workers: close every connection of this name.  It may come back where admission allows it."""

    name: Annotated[str, Field(min_length=1, max_length=600)]
    cause: FreeText
