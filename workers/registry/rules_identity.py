"""Rules for agents, namespaces and people.  Pure."""

from __future__ import annotations

from weft.nkey import InvalidKey, decode_public
from weft.spiffeid import SpiffeID

from schemas.commands import Change
from schemas.facts import Agent, Kind, Namespace, Person
from schemas.reasons import DenyReason
from workers.common.decision.patterns import covers
from workers.common.roles import holds
from workers.registry import rules_egress, rules_people
from workers.registry.prospect import Prospect
from workers.registry.rules import Fabric, Problem, Problems, check_environment, check_patterns, invalid


def agent(change: Change, body: Agent, prospect: Prospect, fabric: Fabric) -> Problems:
    """Under a namespace, with a charter that says something and stays within the bounds above it."""
    yield from rules_egress.agent(change, body, fabric)
    charter = body.charter
    for what, patterns in (("purposes", charter.purposes), ("tools", charter.tools), ("actions", charter.actions)):
        yield from check_patterns(change, f"charter.{what}", patterns)
    yield from check_environment(change, charter.environment, fabric)
    if body.id in charter.delegates:
        yield invalid(change, "charter.delegates names the agent itself")
    if not prospect.namespaces_above(body.id):
        yield invalid(change, "no namespace lies above it: register one first", DenyReason.NAMESPACE_UNKNOWN)
    before = prospect.before(change.kind, change.key)
    if not isinstance(before, Agent) or before.charter != charter:  # bounds that were narrowed later must not stop a suspension
        yield from _within_bounds(change, body, prospect)


def _within_bounds(change: Change, body: Agent, prospect: Prospect) -> Problems:
    charter = body.charter
    for space in prospect.namespaces_above(body.id):
        bounds = space.bounds
        for what, asked, allowed in (
            ("purposes", charter.purposes, bounds.purposes),
            ("tools", charter.tools, bounds.tools),
            ("actions", charter.actions, bounds.actions),
        ):
            beyond = [pattern for pattern in asked if not covers(allowed, pattern)]
            if beyond:
                text = f"charter.{what} {', '.join(beyond)} lies outside the bounds of {space.prefix}"
                yield invalid(change, text, DenyReason.OUT_OF_BOUNDS)
        for name, wanted, most in (("max_ttl_s", charter.max_ttl_s, bounds.max_ttl_s), ("depth", charter.depth, bounds.depth)):
            if wanted > most:
                yield invalid(change, f"charter.{name} is {wanted}, {space.prefix} allows {most}", DenyReason.OUT_OF_BOUNDS)


def agent_deleted(change: Change, prospect: Prospect) -> Problems:
    """Relations would wait for whoever is registered under that ID next."""
    body = prospect.before(change.kind, change.key)
    if isinstance(body, Agent):
        yield from check_unrelated(change, f"agent:{body.id}", prospect)


def check_unrelated(change: Change, entity: str, prospect: Prospect) -> Problems:
    """No relation that stays names the entity."""
    table = prospect.table
    left = [
        edge for edge in (*table.relations_from(entity), *table.relations_to(entity)) if prospect.after(Kind.RELATION, edge.key) is not None
    ]
    if left:
        yield invalid(change, f"{len(left)} relations name it: delete them in the same set, or set its state to retired")


def namespace(change: Change, body: Namespace, _: Prospect, __: Fabric) -> Problems:
    """Bounds that can be read."""
    bounds = body.bounds
    for what, patterns in (("purposes", bounds.purposes), ("tools", bounds.tools), ("actions", bounds.actions)):
        yield from check_patterns(change, f"bounds.{what}", patterns)


def namespaces_deleted(prospect: Prospect) -> Problems:
    """No agent is left under no namespace."""
    deleted = list(prospect.deleted(Kind.NAMESPACE))
    if not deleted:
        return
    prefixes = {change.key: change for change in deleted}
    for agent_left in prospect.agents():
        above = [change for prefix in SpiffeID.parse(agent_left.id).prefixes() if (change := prefixes.get(prefix.subject)) is not None]
        if above and not prospect.namespaces_above(agent_left.id):
            yield invalid(above[-1], f"it is the last namespace above {agent_left.id}")


def person(change: Change, body: Person, prospect: Prospect, _: Fabric) -> Problems:
    """A real key; as a user somebody whom a provider could name."""
    yield from rules_people.named(change, body, prospect)
    try:
        decode_public(body.nkey, "U")
    except InvalidKey:
        yield invalid(change, "nkey is not a public user nkey: its checksum does not match")


def registrar_left(prospect: Prospect, fabric: Fabric) -> Problems:
    """Nobody locks everybody out."""
    touched = any(kind is Kind.PERSON for kind, _ in prospect.changes)
    if touched and not any(holds(one, "registrar", f"spiffe://{fabric.trust_domain}") for one in prospect.people()):
        yield Problem(DenyReason.INVALID_CHANGE, f"no active registrar of spiffe://{fabric.trust_domain} would be left")
