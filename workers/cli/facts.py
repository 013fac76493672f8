"""`weft apply`, `get`, `history`, `can`: what is true, who changed it, and what follows from it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas.commands import Change, PlanLine
from schemas.facts import Kind
from workers.cli.common import Commands, command, operator, operators
from workers.cli.exits import Exit, Stop
from workers.cli.names import described, key_for, people, person_named
from workers.cli.output import Output, as_yaml, clean

KINDS = tuple(kind.value for kind in Kind)


def add(commands: Commands) -> None:
    """Registers them."""
    apply = operators(
        command(commands, "apply", "Make the facts of a folder of YAML true: prints the plan, then one atomic batch.", run_apply)
    )
    apply.add_argument("-f", "--folder", type=Path, required=True, metavar="DIR")
    apply.add_argument("--plan", action="store_true", help="print the plan and stop")
    apply.add_argument("--split", action="store_true", help="more than one atomic batch holds: several, in order, each valid by itself")
    apply.add_argument("--yes", action="store_true", help="do not ask, even at a terminal")
    apply.add_argument("--reason", default=None, help="goes on record")
    get = operators(command(commands, "get", "The facts of a kind, or one of them.", run_get))
    get.add_argument("kind", choices=KINDS)
    get.add_argument("key", nargs="?", metavar="NAME-OR-KEY")
    history = operators(command(commands, "history", "Every revision of one fact, and who wrote it.", run_history))
    history.add_argument("fact", metavar="KIND/NAME-OR-KEY")
    can = operators(command(commands, "can", "Whether an agent's call would be allowed now, gate by gate.", run_can))
    can.add_argument("agent", metavar="SPIFFE-ID")
    can.add_argument("tool")
    can.add_argument("--action", action="append", required=True, dest="actions", metavar="ACTION")
    can.add_argument("--purpose", required=True)
    can.add_argument("--user", default=None, metavar="PERSON", help="on behalf of: the name that relations have, or ISSUER#SUB")


def batches(changes: Sequence[Change], *, divide: bool) -> tuple[Sequence[Change], ...]:
    """One batch, or where `divide` several, each valid by itself."""
    from workers.common.manifest import split

    found = split(changes)
    if len(found) > 1 and not divide:
        raise Stop(Exit.USAGE, "too_many_changes", f"{len(changes)} changes are more than one atomic batch: --split makes {len(found)}")
    return found


def show_plan(out: Output, plan: Sequence[PlanLine], batch: Sequence[Change]) -> None:
    """What would change; what stays is counted."""
    bodies = {(change.kind, change.key): change.body.plain() for change in batch if change.body is not None}
    changing = [
        line.plain() | {"fact": described(line.key, bodies.get((line.kind, line.key)))} for line in plan if line.action != "unchanged"
    ]
    if not out.as_json:
        out.rows(changing, ("action", "kind", "fact", "fields"), empty="nothing changes")
        out.say(f"{len(changing)} to change, {len(plan) - len(changing)} unchanged")


async def run_apply(args: argparse.Namespace, out: Output) -> int:
    from workers.common.manifest import ManifestError, load

    try:
        changes = load(args.folder)
    except ManifestError as error:
        raise Stop(Exit.REFUSED, "manifest_invalid", str(error)) from None
    revision: int | None = None
    plans: list[dict[str, Any]] = []
    warnings: list[str] = []
    async with operator(args) as client:
        for batch in batches(changes, divide=args.split):
            planned = await client.apply(batch, reason=args.reason, plan_only=True)
            show_plan(out, planned.plan, batch)
            for warning in planned.warnings:
                out.say(f"warning: {warning}")
            warnings += planned.warnings
            plans += [line.plain() for line in planned.plan]
            if args.plan or all(line.action == "unchanged" for line in planned.plan):
                continue
            confirm(args, out)
            revision = (await client.apply(batch, reason=args.reason)).revision
    out.value(
        {"plan": plans, "revision": revision, "warnings": warnings}, "" if revision is None else f"applied, facts revision {revision}"
    )
    return Exit.DONE


def confirm(args: argparse.Namespace, out: Output) -> None:
    """At a terminal a person is asked; a script has said what it wants."""
    if args.yes or out.as_json or not sys.stdin.isatty():
        return
    if input("apply? [y/N] ").strip().lower() not in {"y", "yes"}:
        raise Stop(Exit.REFUSED, "not_applied", "nothing was changed")


async def run_get(args: argparse.Namespace, out: Output) -> int:
    kind = Kind(args.kind)
    if args.key is not None:
        return await get_one(args, kind, out)
    async with operator(args) as client:
        rows = await client.all(what="list", kind=kind)
        by = await people(client) if rows and not out.as_json else {}
    out.rows(rows if out.as_json else [listed(row, by) for row in rows], ("name", "state", "revision", "by", "key"))
    return Exit.DONE


def listed(row: dict[str, Any], by: Mapping[str, str]) -> dict[str, Any]:
    """A fact as a line: what it is called, how it stands, whose word it is."""
    body = row["fact"].get("body")
    state = "deleted" if body is None else body.get("level") or body.get("state")
    return row | {"name": described(row["key"], body), "state": state, "by": by.get(row["by"], row["by"])}


async def get_one(args: argparse.Namespace, kind: Kind, out: Output) -> int:
    """One fact; for people as the YAML that `weft apply` reads."""
    async with operator(args) as client:
        rows = (await client.query(what="get", kind=kind, key=await key_for(client, kind, args.key))).rows
    if not rows:
        raise Stop(Exit.REFUSED, "not_found", f"no {args.kind} {args.key}")
    row = rows[0]
    body = row["fact"].get("body")
    out.value(row, f"# revision {row['revision']}, by {row['by']}\n{'# deleted' if body is None else as_yaml(body)}")
    return Exit.DONE


async def run_history(args: argparse.Namespace, out: Output) -> int:
    kind, slash, key = args.fact.partition("/")
    if not slash or kind not in KINDS:
        raise Stop(Exit.USAGE, "usage", "weft history KIND/KEY, for example tool/payments-processing")
    async with operator(args) as client:
        rows = await client.all(what="history", kind=Kind(kind), key=await key_for(client, Kind(kind), key))
        by = await people(client) if rows and not out.as_json else {}
    if not rows:
        raise Stop(Exit.REFUSED, "not_found", f"no {kind} {key}")
    named = [row | {"by": by.get(row.get("by", ""), row.get("by")), "time": row["time"][:23]} for row in rows]
    out.rows(rows if out.as_json else named, ("revision", "time", "by", "action", "fields", "reason"))
    return Exit.DONE


async def run_can(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        person = None if args.user is None else await person_named(client, args.user)
        answer = await client.query(
            what="can", agent=args.agent, tool=args.tool, actions=tuple(args.actions), purpose=args.purpose, user=person
        )
    decision = answer.rows[0]
    lines = [clean(f"{'pass' if line['passed'] else 'FAIL':5} {line['gate']:12} {line.get('note', '')}") for line in decision["lines"]]
    out.value(decision, "\n".join([*lines, f"{decision['outcome']} {decision.get('reason') or ''}".rstrip()]))
    return Exit.DONE if decision["outcome"] == "allow" else Exit.REFUSED
