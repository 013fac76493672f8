"""`weft ssf`: the fabric's own transmitter: its receivers' streams, signals to send, dead letters."""

from __future__ import annotations

import argparse
import json
from typing import Any

from schemas.commands import Answer
from schemas.events import BY_URI, CAEP, RISC
from schemas.ssf import StreamsCommand
from workers.cli.common import Commands, command, group, operator, operators
from workers.cli.exits import Exit, Stop
from workers.cli.output import Output, clean
from workers.cli.responses import subject_of


def add(commands: Commands) -> None:
    """Registers them."""
    inner = group(commands, "ssf", "Signals that the fabric sends (Shared Signals Framework).")
    operators(command(inner, "streams", "Whose streams there are, and where each delivers.", run_streams))
    status = operators(command(inner, "status", "Pause, stop or go on with a stream; its receiver is told first.", run_status))
    status.add_argument("stream")
    status.add_argument("status", choices=("enabled", "paused", "disabled"))
    status.add_argument("--reason", required=True, help="told to the receiver")
    emit = operators(command(inner, "emit", "Send a signal to every receiver that asked for it.", run_emit))
    emit.add_argument("event", help="a CAEP or RISC event type, session-revoked say, or a whole URI")
    emit.add_argument("--subject", required=True, metavar="SUBJECT", help="SPIFFE ID, email address, ISSUER#SUB, or a subject as JSON")
    emit.add_argument("--member", action="append", default=[], metavar="NAME=VALUE", help="of the event; the value may be JSON")
    emit.add_argument("--reason", default=None, help="`reason_admin`, in English")
    emit.add_argument("--stream", default=None, help="on this stream alone")
    dead = operators(command(inner, "dead", "Signals that a receiver refused, or was away for.", run_dead))
    dead.add_argument("--stream", default=None)
    resend = operators(command(inner, "resend", "Send dead letters again.", run_resend))
    which = resend.add_mutually_exclusive_group(required=True)
    which.add_argument("--jti", default=None)
    which.add_argument("--stream", default=None)
    which.add_argument("--all", action="store_true")


async def run_streams(args: argparse.Namespace, out: Output) -> int:
    rows = list((await _asked(args, StreamsCommand(what="list"))).rows)
    lines = (clean(f"{row['stream_id']}  {row['status']:8}  {row['client_id']}  {_where(row['delivery'])}") for row in rows)
    out.value(rows, "\n".join(lines) or "no streams")
    return Exit.DONE


async def run_status(args: argparse.Namespace, out: Output) -> int:
    asked = StreamsCommand(what="status", stream_id=args.stream, status=args.status, reason=args.reason)
    answer = await _asked(args, asked)
    out.value(answer.plain(), f"{args.stream} is {args.status}")
    return Exit.DONE


async def run_emit(args: argparse.Namespace, out: Output) -> int:
    asked = StreamsCommand(
        what="emit",
        event=event_of(args.event),
        subject=subject_from(args.subject),
        members=dict(member_of(text) for text in args.member),
        reason=args.reason,
        stream_id=args.stream,
    )
    answer = await _asked(args, asked)
    out.value(list(answer.rows), f"streams it was sent on: {len(answer.rows)}")
    return Exit.DONE


async def run_dead(args: argparse.Namespace, out: Output) -> int:
    rows: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        answer = await _asked(args, StreamsCommand(what="dead", stream_id=args.stream, after=after))
        rows += answer.rows
        after = answer.next
    lines = (clean(f"{row['stream_id']}  {row['jti']}  {row['event'].rpartition('/')[2]}  {row['err']}: {row['detail']}") for row in rows)
    out.value(rows, "\n".join(lines) or "no dead letters")
    return Exit.DONE


async def run_resend(args: argparse.Namespace, out: Output) -> int:
    answer = await _asked(args, StreamsCommand(what="resend", stream_id=args.stream, jti=args.jti))
    out.value(list(answer.rows), f"sent again: {len(answer.rows)}")
    return Exit.DONE


async def _asked(args: argparse.Namespace, asked: StreamsCommand) -> Answer:
    async with operator(args) as client:
        return await client.streams(asked)


def _where(delivery: dict[str, Any]) -> str:
    return str(delivery.get("endpoint_url", "polled"))


def event_of(said: str) -> str:
    """A name alone is CAEP's where CAEP has it, else RISC's."""
    if "://" in said:
        return said
    found = next((f"{family}{said}" for family in (CAEP, RISC) if f"{family}{said}" in BY_URI), None)
    if found is None:
        raise Stop(Exit.USAGE, "no_such_event", f"{said} is no event of CAEP or RISC")
    return found


def subject_from(said: str) -> dict[str, Any]:
    """A subject identifier, RFC 9493."""
    if said.startswith("{"):
        return dict(_json(said))
    return subject_of(said, None)


def member_of(said: str) -> tuple[str, Any]:
    """`name=value`; a value that begins like JSON is JSON."""
    name, mark, value = said.partition("=")
    if not mark:
        raise Stop(Exit.USAGE, "bad_member", "a member is NAME=VALUE")
    return name, _json(value) if value[:1] in {"{", "[", '"'} else value


def _json(said: str) -> Any:
    try:
        return json.loads(said)
    except ValueError:
        raise Stop(Exit.USAGE, "bad_json", "this begins like JSON and is none") from None
