"""What must hold before a set of changes is committed.  Pure: the table, the changes and the fabric go in, problems come out.

1. Every fact once, under its own key, and none that the registry does not write.
2. The rules of each fact, over the facts as they would stand (`Prospect`).
3. The rules of the whole: nothing that stays relies on what goes.

Does NOT check the person's role (`authorize`) or the expected revisions (`planning`).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import assert_never

from schemas.commands import Change
from schemas.facts import (
    Agent,
    Approval,
    AuthorizationServer,
    Client,
    Credential,
    Detection,
    EventStream,
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
from schemas.reasons import DenyReason
from streams.facts_keys import key_of, subject_of
from workers.registry import rules_clients, rules_identity, rules_people, rules_servers, rules_tools, rules_trust
from workers.registry.prospect import Prospect
from workers.registry.rules import Fabric, Problem, Problems, invalid

MAX_TOLD = 10
NOT_APPLIED = {  # what follows from something else than a person's change
    Kind.POSTURE: "postures follow from signals: use `weft revoke` or `weft lift`",
    Kind.POINT: "what a point is held to follows from what it acknowledges",
    Kind.APPROVAL: "approvals are answered: use `weft approve` or `weft deny`",
    Kind.PENDING: "responses that wait are answered: use `weft confirm` or `weft dismiss`",
}


def validate(prospect: Prospect, changes: Iterable[Change], fabric: Fabric) -> tuple[Problem, ...]:
    """The first problems, at most `MAX_TOLD`; none: the changes may be committed."""
    changes = tuple(changes)
    found = tuple(islice(_form(changes), MAX_TOLD))  # 1
    return found or tuple(islice(_rules(prospect, changes, fabric), MAX_TOLD))


def _form(changes: tuple[Change, ...]) -> Problems:
    seen: set[tuple[Kind, str]] = set()
    for change in changes:
        place = (change.kind, change.key)
        if place in seen:
            yield invalid(change, "it is changed twice in one set")
        seen.add(place)
        yield from _form_of(change)


def _form_of(change: Change) -> Problems:
    if change.kind in NOT_APPLIED:
        yield invalid(change, NOT_APPLIED[change.kind], DenyReason.NOT_AUTHORIZED)
        return
    if change.kind is Kind.STREAM:
        yield invalid(change, "streams are their receivers': see `weft ssf`", DenyReason.NOT_AUTHORIZED)
        return
    if change.kind is Kind.CREDENTIAL:
        yield invalid(change, "credentials are the vault's: use `weft vault`", DenyReason.NOT_AUTHORIZED)
        return
    try:
        subject_of(change.kind, change.key)
    except ValueError:
        yield Problem(DenyReason.INVALID_CHANGE, f"a key of kind {change.kind.value} is not one that a subject can hold")
        return
    if change.body is not None and (change.body.kind is not change.kind or key_of(change.body) != change.key):
        yield invalid(change, "kind and key are not those of its body")


def _rules(prospect: Prospect, changes: tuple[Change, ...], fabric: Fabric) -> Problems:
    for change in changes:  # 2
        yield from _put(change, prospect, fabric) if change.body is not None else _deleted(change, prospect)
    yield from rules_identity.namespaces_deleted(prospect)  # 3
    yield from rules_identity.registrar_left(prospect, fabric)
    yield from rules_tools.tools_relied_upon(prospect)
    yield from rules_servers.servers_relied_upon(prospect)
    yield from rules_trust.tokens_signed(prospect, changes)
    yield from rules_people.told_apart(prospect, fabric)


def _put(change: Change, prospect: Prospect, fabric: Fabric) -> Problems:  # noqa: C901, PLR0911, PLR0912 - one line per kind
    match change.body:
        case Agent() as body:
            return rules_identity.agent(change, body, prospect, fabric)
        case Namespace() as body:
            return rules_identity.namespace(change, body, prospect, fabric)
        case Person() as body:
            return rules_identity.person(change, body, prospect, fabric)
        case Tool() as body:
            return rules_tools.tool(change, body, prospect, fabric)
        case Relation() as body:
            return rules_tools.relation(change, body, prospect, fabric)
        case Key() as body:
            return rules_trust.key(change, body, prospect, fabric)
        case UserIssuer() as body:
            return rules_trust.issuer(change, body, prospect, fabric)
        case Transmitter() as body:
            return rules_trust.transmitter(change, body, prospect, fabric)
        case Policy() as body:
            return rules_trust.policy(change, body, prospect, fabric)
        case ResponsePolicy() as body:
            return rules_trust.response(change, body, prospect, fabric)
        case Client() as body:
            return rules_clients.client(change, body, prospect, fabric)
        case AuthorizationServer() as body:
            return rules_servers.authorization_server(change, body, prospect, fabric)
        case Subscription() as body:
            return rules_trust.subscription(change, body, prospect, fabric)
        case Detection() as body:
            return rules_trust.detection(change, body, prospect, fabric)
        case Posture() | Point() | EventStream() | Credential() | Approval() | Pending() | None:
            return iter(())  # refused by form, and handled by `_deleted`
        case never:
            assert_never(never)


def _deleted(change: Change, prospect: Prospect) -> Problems:
    if change.kind is Kind.AGENT:
        return rules_identity.agent_deleted(change, prospect)
    if change.kind is Kind.TOOL:
        return rules_tools.tool_deleted(change, prospect)
    if change.kind is Kind.KEY:
        return rules_trust.key_deleted(change, prospect)
    return iter(())
