"""Rules for tools that the egress stands before.  Pure.

Whoever registers such a tool decides to which address a credential is sent and what of the upstream may be called; so the upstream's host
has to be one that the credential was put for, which is a custodian's word and not the registrar's.
"""

from __future__ import annotations

from schemas.commands import Change
from schemas.egress import Egress, Injection
from schemas.facts import Agent, Credential, Kind, Tool
from workers.common.outbound import OutboundRefused, Rules
from workers.registry.prospect import Prospect
from workers.registry.rules import Fabric, Problems, invalid

RESERVED = ("connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "txn-token", "upgrade")


def tool(change: Change, body: Tool, prospect: Prospect, fabric: Fabric) -> Problems:
    """Where it stands, what may be called, and with which credential."""
    egress = body.egress
    if egress is None:
        if body.workload == fabric.egress_id:
            yield invalid(change, f"workload is the egress ({fabric.egress_id}): say what it stands before (egress)")
        return
    if body.workload != fabric.egress_id:
        yield invalid(change, f"workload of a tool behind the egress is {fabric.egress_id}")
    endpoint = f"{fabric.egress_url}/{body.name}"
    if body.endpoint != endpoint:
        yield invalid(change, f"endpoint of a tool behind the egress is {endpoint}")
    if body.token_form not in ("txn", "resource"):
        yield invalid(change, "token_form of a tool behind the egress is txn or resource: the egress checks it, the upstream sees no token")
    yield from _upstream(change, egress, prospect, fabric)
    yield from _routes(change, body, egress)
    yield from _injection(change, egress.inject)


def _upstream(change: Change, egress: Egress, prospect: Prospect, fabric: Fabric) -> Problems:
    try:
        host = Rules.of(fabric.private_upstreams).check_url(egress.upstream).netloc.lower()
    except OutboundRefused as refused:
        yield invalid(change, f"egress.upstream: {refused}")
        return
    if egress.credential is None:
        return  # a token of another server then: rules_servers
    credential = prospect.after(Kind.CREDENTIAL, egress.credential)
    if not isinstance(credential, Credential):
        yield invalid(change, f"there is no credential {egress.credential}: weft vault put {egress.credential} --host {host}")
    elif host not in credential.hosts:
        yield invalid(change, f"credential {egress.credential} is for {', '.join(credential.hosts)}, not for {host}")


def _routes(change: Change, body: Tool, egress: Egress) -> Problems:
    seen = set()
    for route in egress.routes:
        place = f"{route.method} {route.path}"
        unknown = sorted(set(route.actions) - set(body.actions))
        if unknown:
            yield invalid(change, f"egress.routes: {place} names {', '.join(unknown)}, which actions does not offer")
        if place in seen:
            yield invalid(change, f"egress.routes: {place} stands there twice")
        seen.add(place)


def _injection(change: Change, inject: Injection) -> Problems:
    if (inject.by in ("header", "query")) != (inject.name is not None):
        yield invalid(change, "egress.inject: name is that of the header or query parameter, and belongs to those two")
    if (inject.by == "basic") != (inject.user is not None):
        yield invalid(change, "egress.inject: user belongs to basic, which needs one")
    if inject.prefix and inject.by != "header":
        yield invalid(change, "egress.inject: prefix belongs to header")
    if inject.name is not None and inject.name.lower() in RESERVED:
        yield invalid(change, f"egress.inject: the header {inject.name} is not ours to set")


def agent(change: Change, body: Agent, fabric: Fabric) -> Problems:
    """Nobody else is the egress."""
    if body.id == fabric.egress_id or body.id.startswith(f"{fabric.egress_id}/"):
        yield invalid(change, f"{fabric.egress_id} is the egress")
