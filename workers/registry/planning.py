"""From validated changes to a plan, and from a plan to the messages of one atomic batch.  Pure.

Every changed fact carries the revision it was planned against (`Nats-Expected-Last-Subject-Sequence`), so nobody's change is lost.
An agent relies on the namespaces above it: a batch that writes one carries the revision of `weft.fact.namespace.>` as well.  A
message has room for one expectation, so the guard rides on a namespace of the batch where there is one, else on a second copy of
the last fact, with the same event id: docs/decisions/0006-registry-and-audit.md has what was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from schemas.commands import Change, PlanLine
from schemas.facts import FACT, Fact, FactBody, Kind
from streams.bus import Outgoing, event
from streams.facts_keys import subject_of
from streams.facts_table import FactsTable
from streams.subjects import FACT as FACTS
from workers.registry.prospect import Prospect

MAX_MESSAGES = 1000  # of an atomic batch, nats-server 2.15
NAMESPACES = f"{FACTS.prefix}.{Kind.NAMESPACE.value}.>"
SOURCE = "/weft/registry"


def plan_of(changes: Iterable[Change], prospect: Prospect) -> tuple[PlanLine, ...]:
    """A line for every change, in its order."""
    return tuple(_line(change, prospect.before(change.kind, change.key)) for change in changes)


def _line(change: Change, before: FactBody | None) -> PlanLine:
    if change.body is None:
        return PlanLine(kind=change.kind, key=change.key, action="unchanged" if before is None else "delete")
    if before is None:
        return PlanLine(kind=change.kind, key=change.key, action="create")
    fields = tuple(sorted(differing(before.plain(), change.body.plain())))
    return PlanLine(kind=change.kind, key=change.key, action="change" if fields else "unchanged", fields=fields)


def differing(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The names of members that differ, nested ones with dots."""
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differing(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}"


def conflict_of(changes: Iterable[Change], table: FactsTable) -> tuple[Change, int] | None:
    """The first change whose author saw another revision than the current one, and that one."""
    for change in changes:
        current = table.revision_of(change.kind, change.key)
        if change.expected is None or change.expected == current:
            continue
        held = table.get(change.kind, change.key)
        if change.expected == 0 and held is not None and held[1].body is None:
            continue  # it must not exist, and it does not: it was deleted
        return change, current
    return None


def messages_of(
    changes: Sequence[Change], plan: Sequence[PlanLine], table: FactsTable, *, by: str, reason: str | None
) -> tuple[Outgoing, ...]:
    """The batch: what changes, each with its expectation, and the guard.  Empty when nothing changes."""
    changing = [change for change, line in zip(changes, plan, strict=True) if line.action != "unchanged"]
    messages = [_message(change, table, by, reason) for change in changing]
    if not any(change.kind is Kind.AGENT and change.body is not None for change in changing):
        return tuple(messages)
    guard = table.version(Kind.NAMESPACE)
    for position, change in enumerate(changing):
        if change.kind is Kind.NAMESPACE:  # the guard lies over its own subject too
            messages[position] = _guarded(messages[position], guard)
            return tuple(messages)
    return (*messages, replace(_guarded(messages[-1], guard), msg_id=_message_id()))


def _message(change: Change, table: FactsTable, by: str, reason: str | None) -> Outgoing:
    fact = Fact(kind=change.kind, key=change.key, body=change.body, by=by, reason=reason)
    subject = subject_of(change.kind, change.key)
    return Outgoing(
        subject=subject,
        body=event(FACT, fact, source=SOURCE, subject=f"{change.kind.value}/{change.key}"),
        msg_id=_message_id(),
        expected_last_subject_seq=table.revision_of(change.kind, change.key),
    )


def _guarded(message: Outgoing, revision: int) -> Outgoing:
    return replace(message, expected_last_subject_seq=revision, expected_subject=NAMESPACES)


def _message_id() -> str:
    return f"registry:{uuid4().hex}"
