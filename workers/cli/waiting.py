"""`weft approvals`, `approve`, `deny`, `responses`, `confirm`, `dismiss`: what waits for a person, and the person's word."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

from schemas.commands import Approve, Resolve
from workers.cli.common import Commands, command, operator, operators
from workers.cli.exits import Exit
from workers.cli.output import Output, clean


def add(commands: Commands) -> None:
    """Registers them."""
    listed = (
        ("approvals", "Requests of agents that wait for somebody's approval.", run_approvals),
        ("responses", "Responses to signals that are beyond their transmitter's ceiling, and wait for an operator.", run_responses),
    )
    for name, help_text, run in listed:
        parser = operators(command(commands, name, help_text, run))
        parser.add_argument("--all", action="store_true", dest="everything", help="also what was answered or ran out, while it is kept")
    answers = (
        ("approve", "Let one request pass, once.", run_approve),
        ("deny", "Let one request not pass.", run_deny),
        ("confirm", "Carry out a response that waits.", run_confirm),
        ("dismiss", "Let a response that waits be.", run_dismiss),
    )
    for name, help_text, run in answers:
        parser = operators(command(commands, name, help_text, run))
        parser.add_argument("id", metavar="ID")
        parser.add_argument("--reason", required=True, help="goes on record")


async def run_approvals(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        rows = (await client.approvals(everything=args.everything)).rows
    out.value(list(rows), "\n\n".join(_paragraph(row, _of_approval(row)) for row in rows) or "no approval waits for you")
    return Exit.DONE


async def run_responses(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        rows = (await client.responses(everything=args.everything)).rows
    out.value(list(rows), "\n\n".join(_paragraph(row, _of_response(row)) for row in rows) or "no response waits for you")
    return Exit.DONE


async def run_approve(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        (row,) = (await client.approve(Approve(id=args.id, verdict="approve", reason=args.reason))).rows
    out.value(row, f"approved {args.id}: this one request, once, within {row['expires_at'] - int(time.time())} s")
    return Exit.DONE


async def run_deny(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        (row,) = (await client.approve(Approve(id=args.id, verdict="deny", reason=args.reason))).rows
    out.value(row, f"denied {args.id}")
    return Exit.DONE


async def run_confirm(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        (row,) = (await client.resolve(Resolve(id=args.id, verdict="confirm", reason=args.reason))).rows
    out.value(row, f"confirmed {args.id}: {row['response']} of {row['scope']} {clean(row['value'])}: {row['done'] or 'done'}")
    return Exit.DONE


async def run_dismiss(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        (row,) = (await client.resolve(Resolve(id=args.id, verdict="dismiss", reason=args.reason))).rows
    out.value(row, f"dismissed {args.id}")
    return Exit.DONE


def _paragraph(row: dict[str, Any], pairs: Iterator[tuple[str, Any]]) -> str:
    head = f"{row['id']}  {row['state']}"
    return "\n".join([head, *(f"  {name:11} {clean(str(value))}" for name, value in pairs if value)])


def _of_approval(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    call, shown = row["call"], row.get("arguments")
    yield "agent", f"{row['agent']}  instance {row['instance']}"
    yield "for", row.get("user")
    yield "asks", f"{row['tool']}: {', '.join(row['actions'])}, purpose {row['purpose']}"
    if shown is not None:
        yield "call", f"{call['method']} {shown['path']}"
        yield "body", shown["body"]
    else:
        yield "call", f"{call['method']}, path {call['path']}, body {call['body']} (digests: the agent did not show the call)"
    yield "details", row.get("authorization_details")
    yield "it says", row.get("intent")
    yield "asked", _ago(row["asked_at"])
    yield "answered by", row.get("by")
    yield "reason", row.get("reason")
    yield "not by you", row.get("not_by_you")
    yield "explanation", row["explanation"]


def _of_response(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    lasts = f" for {row['duration_s']} s" if row.get("duration_s") else ""
    yield "would", f"{row['response']} {row['scope']} {row['value']}{lasts}"
    yield "signal", f"{row['event']} of {row['iss']}, confidence {row['confidence']}"
    yield "rule", f"{row['policy']}/{row['rule']}"
    yield "waits", row["why"]
    yield "since", _ago(row["asked_at"])
    yield "answered by", row.get("by")
    yield "reason", row.get("reason")


def _ago(at: int) -> str:
    return f"{max(0, int(time.time()) - at)} s ago"
