"""`weft drill run`, `weft drill report`: that every enforcement point refuses what was revoked, and how long it took."""

from __future__ import annotations

import argparse
import uuid
from datetime import UTC, datetime
from typing import Any

from schemas.drills import Run
from workers.cli.common import Commands, command, group, operator, operators
from workers.cli.exits import Exit
from workers.cli.output import Output, table

DRILLED = "org.weft.record.drilled.v1"
POINTS = ("point", "tool", "state", "reason", "ms")
DRILLS = ("at", "by", "entry", "points", "passed", "p50_ms", "p99_ms", "last_ms", "failed")


def add(commands: Commands) -> None:
    """Registers them."""
    inner = group(commands, "drill", "Revocation drills: canary tokens revoked at every enforcement point.")
    operators(command(inner, "run", "One drill, now; each guard's own verdict.", run))
    report = operators(command(inner, "report", "The drills on record, the newest first.", run_report))
    report.add_argument("--last", type=int, default=20, metavar="N", help="so many (20)")


async def run(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        (row,) = (await client.drill(Run(id=f"cli:{uuid.uuid4().hex}"))).rows
    out.value(row, described(row))
    return Exit.DONE if row["passed"] else Exit.REFUSED


def described(drill: dict[str, Any]) -> str:
    """One drill for people."""
    if not drill["points"]:
        return "nobody to drill: no live enforcement point of a tool that takes Transaction Tokens"
    shown = [{**point, "point": point["point"].partition(".")[0]} for point in drill["points"]]
    p50, last = drill.get("p50_ms"), drill.get("last_ms")
    head = f"{'passed' if drill['passed'] else 'FAILED'}: entry {drill.get('n', '-')}, p50 {p50} ms, last {last} ms"
    skipped = f"\nskipped: {', '.join(drill['skipped'])}" if drill.get("skipped") else ""
    return f"{head}\n{table(shown, POINTS)}{skipped}"


def line(drill: dict[str, Any]) -> dict[str, Any]:
    """One drill of many."""
    failed = [point["point"] for point in drill["points"] if point["state"] != "refused"]
    return {
        **{name: drill.get(name) for name in ("passed", "p50_ms", "p99_ms", "last_ms", "by")},
        "at": datetime.fromtimestamp(drill["at"], UTC).isoformat(timespec="seconds"),
        "entry": drill.get("n"),
        "points": len(drill["points"]) + drill.get("omitted", 0),
        "failed": failed,
    }


async def run_report(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        drills = [row["event"]["data"] async for row in client.replay(types=(DRILLED,))]
    newest = drills[: -args.last - 1 : -1] if args.last > 0 else []
    out.rows([line(drill) for drill in newest], DRILLS, empty="no drill on record")
    return Exit.DONE if not newest or newest[0]["passed"] or not newest[0]["points"] else Exit.REFUSED
