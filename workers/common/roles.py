"""Who may touch what: the namespaces a fact belongs to, and whether a person holds a role over them.  Design section 5, Operators.

A role is held over a namespace and everything below it.  A fact that names several places belongs to all of them, and what has no
place of its own (people, policies, keys, teams) belongs to the trust domain.  Deny by default.
"""

from __future__ import annotations

from typing import Protocol

from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.facts import Agent, Approval, FactBody, Namespace, Pending, Person, Relation, Role, Tool


class Tools(Protocol):
    """What is read to place a relation; `streams.facts_table.FactsTable` is one."""

    def tool(self, name: str) -> Tool | None:
        """One tool."""
        ...


def scopes_of(body: FactBody, tools: Tools, trust_domain: str) -> frozenset[str]:  # noqa: PLR0911 - one line per kind
    """The SPIFFE IDs that a role must lie above, each of them, before this fact may be touched."""
    match body:
        case Agent():
            return frozenset({body.id})
        case Tool():
            return frozenset({body.workload})
        case Namespace():
            return frozenset({body.prefix})
        case Approval():
            return frozenset({body.agent})
        case Pending():
            return frozenset({body.place})
        case Relation():
            return frozenset({_scope_of_entity(end, tools, trust_domain) for end in (body.subject, body.object)})
        case _:
            return frozenset({f"spiffe://{trust_domain}"})


def _scope_of_entity(entity: str, tools: Tools, trust_domain: str) -> str:
    kind, _, name = entity.partition(":")
    if kind in ("agent", "namespace"):
        return name
    tool = tools.tool(name) if kind == "tool" else None
    return tool.workload if tool is not None else f"spiffe://{trust_domain}"


def holds(person: Person | None, role: Role, scope: str) -> bool:
    """The person is active and has this role over the namespace or one above it."""
    if person is None or person.state != "active":
        return False
    try:
        above = {str(prefix) for prefix in SpiffeID.parse(scope).prefixes()}
    except InvalidSpiffeID:
        return False
    return any(grant.role == role and grant.namespace in above for grant in person.roles)
