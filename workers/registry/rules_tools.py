"""Rules for tools and relations.  Pure."""

from __future__ import annotations

import re

from schemas.commands import Change
from schemas.facts import Kind, Relation, Tool
from workers.registry import rules_egress, rules_people, rules_servers
from workers.registry.prospect import Prospect
from workers.registry.rules import Fabric, Problems, check_environment, check_patterns, invalid
from workers.registry.rules_identity import check_unrelated

_POINTER = re.compile(r"(/([^~/]|~0|~1)*)+")  # RFC 6901 section 3; the whole document is no field
_SHAPES = {  # what each relation may lead from and to; the decision reads no others
    "member_of": (("user", "agent", "team"), ("team",)),
    "operates": (("user", "agent", "team"), ("tool", "toolgroup")),
    "contains": (("toolgroup",), ("tool", "toolgroup")),
    "delegates_to": (("user",), ("agent",)),
    "may_delegate_to": (("agent",), ("agent",)),
    "may_approve": (("user", "team"), ("namespace",)),
}


def tool(change: Change, body: Tool, prospect: Prospect, fabric: Fabric) -> Problems:
    """It offers something, and everything its record asks for can be met."""
    if not body.actions:
        yield invalid(change, "actions is empty: it could never be called")
    if not body.purposes:
        yield invalid(change, "purposes is empty: it could never be called")
    for what, codes in (("actions", body.actions), ("purposes", body.purposes)):
        if any("*" in code for code in codes):
            yield invalid(change, f"{what} holds a '*': a tool names what it offers")
    for name, pointer in body.object_fields.items():
        if not _POINTER.fullmatch(pointer):
            yield invalid(change, f"object_fields.{name} is not a JSON pointer such as /order")
    yield from check_environment(change, body.environment, fabric)
    yield from _resource(change, body, prospect)
    yield from _unguarded(change, body)
    yield from rules_servers.obtained(change, body, prospect)
    yield from rules_egress.tool(change, body, prospect, fabric)
    yield from _evidence(change, body, prospect)


def _resource(change: Change, body: Tool, prospect: Prospect) -> Problems:
    """A resource is one workload's, and so its registrar's: who verifies nothing but an audience would take another's tokens for it."""
    if body.state != "active":
        return
    for other in prospect.tools():
        if other.state == "active" and other.resource == body.resource and other.workload != body.workload:
            yield invalid(change, f"resource {body.resource} is that of {other.name}, a tool of another workload")


def _unguarded(change: Change, body: Tool) -> Problems:
    """What a tool without a guard takes must be revocable there, or be the caller's own identity; and nobody would check the rest."""
    if body.revocation == "guard" and body.token_form != "external":
        return
    if body.token_form not in ("access_token", "jwt_svid", "external"):
        yield invalid(change, f"revocation {body.revocation} is for access_token and jwt_svid: a {body.token_form} token needs a guard")
    if body.revocation == "status_list" and not body.status_list:
        yield invalid(change, "revocation by a status list needs status_list: its tokens have to be in one")
    wanted = {"single_use": body.single_use, "evidence": body.evidence, "chain": body.chain}
    for name in (name for name, value in wanted.items() if value):
        yield invalid(change, f"{name} is checked by a guard, and this tool has none")


def _evidence(change: Change, body: Tool, prospect: Prospect) -> Problems:
    for rule in body.evidence:
        step = prospect.tool(rule.tool)
        if rule.tool == body.name:
            yield invalid(change, "evidence names the tool itself")
        elif step is None:
            yield invalid(change, f"evidence names {rule.tool}, which is not registered")
        elif not rule.fields:
            yield invalid(change, f"evidence of {rule.tool} names no fields: it would count for any object")
        else:
            for whose, fields in ((rule.tool, step.object_fields), (body.name, body.object_fields)):
                missing = sorted(set(rule.fields) - set(fields))
                if missing:
                    yield invalid(change, f"evidence compares {', '.join(missing)}, which object_fields of {whose} does not have")


def tools_relied_upon(prospect: Prospect) -> Problems:
    """A tool that others want evidence of stays, and keeps the fields they compare."""
    changed = {change.key: change for change in prospect.changes.values() if change.kind is Kind.TOOL}
    if not changed:
        return
    for other in prospect.tools():
        for rule in other.evidence:
            change = changed.get(rule.tool)
            if change is None or other.name in changed:
                continue  # a changed tool was looked at by its own rule
            if change.body is None:
                yield invalid(change, f"{other.name} wants its evidence")
            elif isinstance(change.body, Tool) and not set(rule.fields) <= set(change.body.object_fields):
                yield invalid(change, f"{other.name} compares object_fields that it would no longer have")


def tool_deleted(change: Change, prospect: Prospect) -> Problems:
    """Relations would wait for the next tool of that name."""
    yield from check_unrelated(change, f"tool:{change.key}", prospect)


def relation(change: Change, body: Relation, prospect: Prospect, _: Fabric) -> Problems:
    """Of a shape that the decision reads, between things that exist where we can know it."""
    starts, leads = _SHAPES[body.relation]
    ends = (body.subject.partition(":"), body.object.partition(":"))
    if ends[0][0] not in starts or ends[1][0] not in leads:
        yield invalid(change, f"{body.relation} leads from {' or '.join(starts)} to {' or '.join(leads)}")
        return
    if body.subject == body.object:
        yield invalid(change, "it leads from a thing to itself")
    yield from rules_people.named(change, body, prospect)
    yield from check_patterns(change, "actions", body.actions)
    yield from check_patterns(change, "purposes", body.purposes)
    if body.relation != "delegates_to" and body.purposes != ("*",):
        yield invalid(change, "purposes belong to delegates_to")
    for kind, _colon, name in ends:
        if not _exists(kind, name, prospect):
            yield invalid(change, f"there is no {kind} {name}")


def _exists(kind: str, name: str, prospect: Prospect) -> bool:
    """Users, teams and tool groups exist by being named."""
    try:
        match kind:
            case "agent":
                return prospect.agent(name) is not None
            case "namespace":
                return prospect.namespace(name) is not None
            case "tool":
                return prospect.tool(name) is not None
            case _:
                return True
    except ValueError:  # not a SPIFFE ID
        return False
