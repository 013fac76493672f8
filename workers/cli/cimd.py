"""`weft cimd`: clients and tools by their metadata documents (Client ID Metadata Documents, RFC 9728)."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from schemas.cimd import Resolved, ResolvedTool
from schemas.commands import Change
from schemas.facts import Client, Kind, Tool
from workers.cli.common import Commands, command, group, operator, operators
from workers.cli.exits import Exit, Stop
from workers.cli.facts import confirm, show_plan
from workers.cli.output import Output, clean

if TYPE_CHECKING:
    from workers.common.operator_client import OperatorClient

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
FROM_DOCUMENT = (
    "client_id", "name", "auth_method", "jwks", "certificate", "spiffe_id", "certificate_bound", "dpop_required", "document",
)  # fmt: skip


def add(commands: Commands) -> None:
    """Registers them."""
    inner = group(commands, "cimd", "OAuth clients and tools by their metadata documents.")
    resolve = operators(command(inner, "resolve", "Fetch a document and show what it says.", run_resolve))
    _about(resolve)
    accept = operators(command(inner, "accept", "Make the fact what the document says, with the rights given here.", run_accept))
    _about(accept)
    accept.add_argument("--document", required=True, metavar="DIGEST", help="as `resolve` showed it: another one is refused")
    accept.add_argument("--owner", default=None, help="of a client that is new")
    accept.add_argument("--scope", action="append", default=None, dest="scopes", metavar="SCOPE", help="what client_credentials may give")
    accept.add_argument("--ceiling", action="append", default=None, dest="ceilings", metavar="TYPE=SCOPE[,SCOPE]")
    accept.add_argument("--resource", action="append", default=None, dest="resources", metavar="URI")
    accept.add_argument(
        "--actor", action="append", default=None, dest="actors", metavar="SPIFFE-ID", help="whose actor tokens it may bring"
    )
    accept.add_argument("--yes", action="store_true", help="do not ask, even at a terminal")
    accept.add_argument("--reason", default=None, help="goes on record")


def _about(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("url", metavar="URL", nargs="?", help="the client_id of a client")
    which.add_argument("--tool", default=None, metavar="NAME", help="a tool, by the metadata of its resource (RFC 9728)")


async def _resolve(client: OperatorClient, args: argparse.Namespace) -> Resolved | ResolvedTool:
    return await client.resolve_client(args.url) if args.tool is None else await client.resolve_tool(args.tool)


async def run_resolve(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        found = await _resolve(client, args)
    state = "new" if found.accepted is None else "accepted" if found.accepted == found.document else "CHANGED since it was accepted"
    rows = {"state": state, **found.plain()}
    out.value(rows, "\n".join(f"{name:18} {clean(str(value))}" for name, value in rows.items()))
    return Exit.DONE


async def run_accept(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        found = await _resolve(client, args)
        if found.document != args.document:
            raise Stop(Exit.REFUSED, "document_changed", f"the document is {found.document} now: resolve it again")
        change = await (_tool_change(client, found) if isinstance(found, ResolvedTool) else _change(client, args, found.plain()))
        planned = await client.apply([change], reason=args.reason, plan_only=True)
        show_plan(out, planned.plan, [change])
        confirm(args, out)
        revision = (await client.apply([change], reason=args.reason)).revision
    out.value({"about": args.url or args.tool, "revision": revision}, f"accepted, facts revision {revision}")
    return Exit.DONE


async def _change(client: OperatorClient, args: argparse.Namespace, found: dict[str, Any]) -> Change:
    """At the revision that was read: what somebody else changed meanwhile is not overwritten."""
    from streams.facts_keys import key_of

    body = accepted_body(args, found, None)
    rows = (await client.query(what="get", kind=Kind.CLIENT, key=key_of(body))).rows
    before = rows[0]["fact"].get("body") if rows else None
    body = accepted_body(args, found, before)
    if not body.owner:
        raise Stop(Exit.USAGE, "usage", "a new client needs --owner")
    return Change(kind=Kind.CLIENT, key=key_of(body), body=body, expected=rows[0]["revision"] if rows else 0)


async def _tool_change(client: OperatorClient, found: ResolvedTool) -> Change:
    rows = (await client.query(what="get", kind=Kind.TOOL, key=found.tool)).rows
    body = accepted_tool(found, rows[0]["fact"]["body"])
    return Change(kind=Kind.TOOL, key=found.tool, body=body, expected=rows[0]["revision"])


def accepted_tool(found: ResolvedTool, before: dict[str, Any]) -> Tool:
    """The record, with what the document asks for besides: a proof is never given up because a document no longer mentions it."""
    changes: dict[str, Any] = {"document": found.document, "proof": found.proof or before.get("proof")}
    if found.authorization_details is not None:
        changes["authorization_details"] = found.authorization_details
    return Tool.model_validate({**before, **changes}, strict=False)


def accepted_body(args: argparse.Namespace, found: dict[str, Any], before: dict[str, Any] | None) -> Client:
    """How it proves itself, from the document; what it may, from the fact as it stands and the options."""
    rights = {"owner": "", **{name: value for name, value in (before or {}).items() if name not in FROM_DOCUMENT}}
    given = {"owner": args.owner, "scopes": args.scopes, "resources": args.resources, "actors": args.actors}
    rights |= {name: value for name, value in given.items() if value is not None}
    if args.ceilings is not None:
        rights["ceilings"] = dict(_ceiling(text) for text in args.ceilings)
    grants = (("client_credentials", rights.get("scopes")), (TOKEN_EXCHANGE, rights.get("ceilings")))
    rights["grant_types"] = [grant for grant, has in grants if has]
    proof = {name: found[name] for name in FROM_DOCUMENT if name in found}
    return Client.model_validate({**rights, **proof, "kind": Kind.CLIENT}, strict=False)


def _ceiling(text: str) -> tuple[str, list[str]]:
    name, equals, scopes = text.partition("=")
    if not equals or not scopes:
        raise Stop(Exit.USAGE, "usage", "--ceiling TYPE=SCOPE[,SCOPE], for example access_token=process.refund")
    return name, scopes.split(",")
