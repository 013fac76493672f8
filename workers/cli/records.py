"""`weft explain`, `weft record`: what happened, why, and whether it can be computed again."""

from __future__ import annotations

import argparse
from typing import Any

from schemas.record import BY_TYPE
from workers.cli.common import Commands, command, group, operator, operators
from workers.cli.exits import Exit, Stop
from workers.cli.explained import explanation
from workers.cli.output import Output

TYPE = "org.weft.record.{}.v1"
WHAT = tuple(sorted(name.removeprefix("org.weft.record.").removesuffix(".v1") for name in BY_TYPE))

TOLD = (
    *("what", "response", "by", "reason", "tool", "jti", "txn", "caller", "name", "person", "point", "n"),
    *("outcome", "err", "pending", "client", "failures", "replays", "detail"),
)


def add(commands: Commands) -> None:
    """Registers them."""
    explain = operators(command(commands, "explain", "Who asked what, each gate, what was issued, used and revoked.", run_explain))
    explain.add_argument("id", metavar="TXN-OR-EXPLANATION")
    inner = group(commands, "record", "The record of everything.")
    follow = operators(command(inner, "follow", "Events from now on, until interrupted.", run_follow))
    replay = operators(command(inner, "replay", "Events from the first one on.", run_replay))
    replay.add_argument("--after", type=int, default=0, metavar="SEQ")
    for parser in (follow, replay):
        parser.add_argument("--type", action="append", default=[], dest="types", choices=WHAT, metavar="WHAT", help=", ".join(WHAT))
    operators(command(inner, "verify", "Compute every decision again from RECORD and FACTS; report what differs.", run_verify))


async def run_explain(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        answer = await client.explain(args.id)
    if not answer.rows:
        raise Stop(Exit.REFUSED, "not_found", f"nothing on record about {args.id} that you may see")
    rows = list(answer.rows)
    out.value(rows, explanation(rows))
    return Exit.DONE


def line(row: dict[str, Any]) -> str:
    """One event for people."""
    event = row["event"]
    data = event["data"]
    what = event["type"].removeprefix("org.weft.record.").removesuffix(".v1")
    seen = {**(data.get("input") or {}), **(data.get("claims") or {}), **data}  # a decision says whose and for what inside
    words = [f"{name}={seen[name]}" for name in TOLD if seen.get(name)]
    return f"{row['seq']:>8} {str(event.get('time', ''))[:23]:23} {what:12} {' '.join(words)}"


async def run_follow(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        async for row in client.replay(types=tuple(TYPE.format(name) for name in args.types), after=await client.head(), follow_s=None):
            out.event(row, line(row))
    return Exit.DONE


async def run_replay(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        async for row in client.replay(types=tuple(TYPE.format(name) for name in args.types), after=args.after):
            out.event(row, line(row))
    return Exit.DONE


async def run_verify(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        verdict = await client.verify()
    differ = verdict["differ"]
    lines = [f"  #{row['seq']}  {', '.join(row['differs'])}  explanation {row['explanation']}" for row in differ]
    out.value(verdict, "\n".join([f"{verdict['checked']} decisions computed again, {len(differ)} differ", *lines]))
    return Exit.DONE if not differ else Exit.REFUSED
