"""Rules that keep people apart: whose `sub` means whom, and who may speak of whom.  Pure.  docs/decisions/0008-people.md.

1. No two providers share a namespace, the empty one included, unless the second says that it names the same people.
2. Nobody inherits: a provider takes no namespace whose people the graph or an operator's record already names, where that may have meant
another provider's.
3. A name has a provider: relations and operators' records name nobody in a namespace that no provider has.
4. Where providers name different people, a transmitter whose word could reach people says whose.
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.digest import sha256

from schemas.commands import Change
from schemas.facts import Client, FactBody, Kind, Person, Relation, Transmitter, UserIssuer
from schemas.signals import DETECTIONS, POINTS
from workers.common.decision.draft import is_workload
from workers.common.people import alike, parts_of
from workers.registry.prospect import Prospect
from workers.registry.rules import Fabric, Problems, invalid


def issuer(change: Change, body: UserIssuer, prospect: Prospect) -> Problems:
    """What it says of itself and of the provider that it follows.  2."""
    first = prospect.after(Kind.ISSUER, sha256(body.same_people_as)) if body.same_people_as not in (None, body.iss) else None
    if isinstance(first, UserIssuer) and first.same_people_as is not None:
        yield invalid(change, f"same_people_as names {first.iss}, which follows {first.same_people_as}: name that one")
    if isinstance(first, UserIssuer) and first.namespace != body.namespace:
        yield invalid(change, f"same_people_as: {first.iss} has the namespace '{first.namespace}', and this fact '{body.namespace}'")
    yield from _inherited(change, body, prospect)


def _inherited(change: Change, body: UserIssuer, prospect: Prospect) -> Problems:
    before = prospect.before(change.kind, change.key)
    if body.same_people_as is not None or (isinstance(before, UserIssuer) and before.namespace == body.namespace):
        return
    if not body.namespace and all(entry.key == change.key for entry in prospect.table.list(Kind.ISSUER)):
        return  # the first there ever was has the people that were written down for it
    left = next(_people_of(body.namespace, prospect), None)
    if left is not None:
        yield invalid(
            change,
            f"the {_words(body.namespace)} already has people ({left}), perhaps of a provider that is gone: delete what names them, "
            "or say whose they are with same_people_as (its own iss, where they were this one's)",
        )


def _people_of(namespace: str, prospect: Prospect) -> Iterator[str]:
    """What stays and names somebody of this namespace: relations (there may be a million) and operators' records."""
    for key, name in prospect.table.people_related():
        if parts_of(name).namespace == namespace and prospect.after(Kind.RELATION, key) is not None:
            yield f"{Kind.RELATION.value}/{key}"
    for entry in prospect.table.list(Kind.PERSON):
        after = prospect.after(Kind.PERSON, entry.key) if entry.fact.body is not None else None
        if any(parts_of(name).namespace == namespace for name in _named_in(after)):
            yield f"{Kind.PERSON.value}/{entry.key}"


def _named_in(body: FactBody | None) -> Iterator[str]:
    if isinstance(body, Relation):
        ends = (end.partition(":") for end in (body.subject, body.object))
        yield from (name for kind, _, name in ends if kind == "user")
    elif isinstance(body, Person) and body.user is not None:
        yield body.user


def named(change: Change, body: Relation | Person, prospect: Prospect) -> Problems:
    """3.  Nor are people called what workloads and clients are: `sub` of a Transaction Token may be any of them."""
    known = {one.namespace for one in prospect.issuers} | {""}
    for name in _named_in(body):
        namespace = parts_of(name).namespace
        if namespace not in known:
            yield invalid(change, f"no provider has the namespace {namespace} (its fact is of kind issuer)")
        if is_workload(name):
            yield invalid(change, "a SPIFFE ID names a workload, and no person")
        if isinstance(prospect.after(Kind.CLIENT, sha256(name)), Client):
            yield invalid(change, "an OAuth client is called so: people have other names")


def client(change: Change, body: Client, prospect: Prospect) -> Problems:
    """Whose people its own word names is a provider that we know; its identifier is nobody's name."""
    if parts_of(body.client_id).namespace and "://" not in body.client_id:
        yield invalid(change, "client_id looks like a person of a provider's namespace (::)")
    if body.people is None:
        return
    if not isinstance(prospect.after(Kind.ISSUER, sha256(body.people)), UserIssuer):
        yield invalid(change, "people names no provider among the facts")
    if not {"self_signed", "unsigned_json"} & body.ceilings.keys():
        yield invalid(change, "people is for clients whose own word counts: ceilings.self_signed or ceilings.unsigned_json")


def transmitter(change: Change, body: Transmitter, prospect: Prospect) -> Problems:
    """It lists providers that we know."""
    known = {one.iss for one in prospect.issuers}
    for position, iss in enumerate(body.people or ()):
        if iss not in known:
            yield invalid(change, f"people[{position}] is no provider among the facts (kind issuer)")


def told_apart(prospect: Prospect, fabric: Fabric) -> Problems:
    """1 and 4, of the whole."""
    touched = [change for (kind, _), change in prospect.changes.items() if kind in (Kind.ISSUER, Kind.TRANSMITTER)]
    if not touched:
        return
    issuers = prospect.issuers
    for first, second in alike(issuers):
        yield invalid(
            _change_of(touched, first, second),
            f"{first.iss} and {second.iss} share the {_words(first.namespace)}, so that who controls one could be anybody of the other: "
            "give one a namespace of its own, or where they name the same people say same_people_as",
        )
    if len({one.namespace for one in issuers}) > 1:
        yield from (invalid(touched[-1], text) for text in _silent(prospect, fabric))


def _silent(prospect: Prospect, fabric: Fabric) -> Iterator[str]:
    """Transmitters whose word could reach people, and which do not say whose."""
    own = {one.iss for one in prospect.issuers} | {POINTS, DETECTIONS}
    reaches_people = f"spiffe://{fabric.trust_domain}"
    for one in prospect.transmitters():
        if one.people is None and one.state == "active" and one.iss not in own and reaches_people in one.ceiling.namespaces:
            yield f"providers name different people, and the transmitter {one.iss} does not say of whose it speaks: set its `people`"


def _change_of(touched: list[Change], *issuers: UserIssuer) -> Change:
    return next((change for change in reversed(touched) if change.body in issuers), touched[-1])


def warnings(prospect: Prospect) -> Iterator[str]:
    """What is allowed, and worth a second look before it is committed."""
    for (kind, key), change in prospect.changes.items():
        body, before = change.body, prospect.before(kind, key)
        if not isinstance(body, UserIssuer):
            continue
        said_before = before.same_people_as if isinstance(before, UserIssuer) else None
        if body.same_people_as not in (None, said_before):
            yield f"{body.iss} will speak for everybody whom {body.same_people_as} names or named: whoever controls either is any of them"
        if isinstance(before, UserIssuer) and before.namespace != body.namespace:
            yield (
                f"people of {body.iss} move from the {_words(before.namespace)} to the {_words(body.namespace)}: "
                "relations, operators' `user`, quarantines and revocations stay with the names they had"
            )


def _words(namespace: str) -> str:
    return f"namespace {namespace}" if namespace else "empty namespace"
