"""Who may commit a set of changes: an active person who is registrar of every place that any of them touches.  Pure.

A fact that moves touches both places: where it stood and where it would stand.
"""

from __future__ import annotations

from collections.abc import Iterable

from schemas.commands import Change
from schemas.facts import Person
from workers.common.roles import holds, scopes_of
from workers.registry.prospect import Prospect


def missing_role(person: Person | None, changes: Iterable[Change], prospect: Prospect, trust_domain: str) -> str | None:
    """The first role that is missing, as a sentence; none: the person may."""
    if person is None or person.state != "active":
        return "you are not an active operator of this fabric"
    for change in changes:
        for scope in sorted(_touched(change, prospect, trust_domain)):
            if not holds(person, "registrar", scope):
                return f"you are not registrar of {scope}, which {change.kind.value}/{change.key} touches"
    return None


def _touched(change: Change, prospect: Prospect, trust_domain: str) -> frozenset[str]:
    before = prospect.before(change.kind, change.key)
    places: frozenset[str] = frozenset()
    if before is not None:
        places |= scopes_of(before, prospect.table, trust_domain)
    if change.body is not None:
        places |= scopes_of(change.body, prospect, trust_domain)
    return places or frozenset({f"spiffe://{trust_domain}"})
