"""`weft tainted`: what rests on a key, tool, agent version or model that turned out to be bad, and one command to end what of it lives."""

from __future__ import annotations

import argparse
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from schemas.commands import Sweep, Swept
from workers.cli.common import Commands, command, operator, operators
from workers.cli.exits import Exit, Stop
from workers.cli.output import Output
from workers.cli.reach import tainted

if TYPE_CHECKING:
    from workers.common.operator_client import OperatorClient

KINDS = ("key", "tool", "agent-version", "model-digest")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
SWEPT = 128  # targets of one entry
MAX_SWEEPS = 20  # what is minted meanwhile is looked for again, but not for ever


def add(commands: Commands) -> None:
    """Registers it."""
    parser = operators(command(commands, "tainted", "What rests on something bad, since a time; with --revoke, end what of it lives.", run))
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("value", help="a kid or thumbprint; a tool's name; SPIFFE-ID@VERSION; the digest in the agents' provenance")
    parser.add_argument("--since", type=moment, required=True, metavar="TIME", help="2026-11-24T06:00:00Z, or 90m, 6h, 2d ago")
    parser.add_argument("--revoke", action="store_true", help="revoke every tainted token that lives, and with it its descendants")
    parser.add_argument("--reason", default=None, help="goes on record; required with --revoke")


def moment(text: str) -> int:
    """Seconds since the epoch.  Without a zone it is UTC."""
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if ago is not None:
        return int(time.time()) - int(ago[1]) * UNITS[ago[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a time is 2026-11-24T06:00:00Z, or 90m, 6h, 2d ago") from None
    return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp())


async def run(args: argparse.Namespace, out: Output) -> int:
    """Shows, or revokes."""
    if args.revoke and args.reason is None:
        raise Stop(Exit.USAGE, "no_reason", "--reason is required with --revoke")
    question = {"what": "tainted", "taint": args.kind.replace("-", "_"), "value": args.value, "since": args.since}
    async with operator(args) as client:
        found, tokens = await client.tokens(**question)
        if not args.revoke:
            out.value({"summary": found, "tokens": tokens}, tainted(found, tokens))
            return Exit.DONE
        entries = await sweep(client, question | {"live": True}, args.reason)
        left, _ = await client.tokens(**question, live=True)
    ended = found["live"] - left["live"]
    said = f"{found['tokens']} tainted decisions; ended {ended} live tokens with {len(entries)} entries; {left['live']} live now"
    out.value({"summary": found, "entries": entries, "live": left["live"]}, said)
    return Exit.DONE if not left["live"] else Exit.REFUSED


def any_of_them(_: dict[str, Any]) -> bool:
    """Every token of an answer."""
    return True


async def sweep(
    client: OperatorClient, question: dict[str, Any], reason: str, meant: Callable[[dict[str, Any]], bool] = any_of_them
) -> list[int]:
    """Until nothing of it lives that is meant; the numbers of the entries.  Tokens go by their own id, and their descendants with them."""
    entries: list[int] = []
    for _ in range(MAX_SWEEPS):
        _, tokens = await client.tokens(**question)
        wanted = [token for token in tokens if token["how"] != "later" and token["live"] and meant(token)]
        if not wanted:
            break
        for some in _few(wanted):
            targets = tuple(Swept(kind="token", value=token["jti"], record=token["seq"]) for token in some)
            answer = await client.sweep(Sweep(id=f"cli:{uuid.uuid4().hex}", targets=targets, reason=reason))
            entries.append(int(answer.rows[0]["n"]))
        await client.applied(entries[-1])
    return entries


def _few(tokens: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    return (tokens[start : start + SWEPT] for start in range(0, len(tokens), SWEPT))
