"""`weft consent`: that a person lets an agent act for them, for what, and until when.  RFC 8693: delegation, never impersonation.

A consent is the relation `delegates_to` from the person to the agent.  Withdrawn or expired it ends at the next decision, those of calls
that others continue in the same transaction too.  No token outlives its expiry; withdrawing revokes the person's live tokens in which the
agent acts or acted, for which it takes a revoker and an auditor.
"""

from __future__ import annotations

import argparse
import re
import time
from typing import Any

from schemas.commands import Change
from schemas.facts import Kind, Relation
from streams.subjects import relation_key
from workers.cli.common import Commands, command, group, operator, operators
from workers.cli.exits import Exit, Stop
from workers.cli.names import person_named
from workers.cli.output import Output
from workers.cli.tainted import sweep

_UNITS_S = {"m": 60, "h": 3600, "d": 86_400}
_FOR = re.compile(r"([1-9][0-9]{0,5})([mhd])", re.ASCII)


def add(commands: Commands) -> None:
    """Registers them."""
    inner = group(commands, "consent", "A person lets an agent act for them.")
    give = operators(command(inner, "give", "Give it, or replace what was given.", run_give))
    withdraw = operators(command(inner, "withdraw", "Take it back, and end what was granted under it.", run_withdraw))
    for parser in (give, withdraw):
        parser.add_argument("user", metavar="PERSON", help="as relations name them, or ISSUER#SUB")
        parser.add_argument("agent", metavar="SPIFFE-ID")
        parser.add_argument("--reason", default=None, help="goes on record")
    withdraw.add_argument("--keep", action="store_true", help="leave live tokens to end by themselves, within a minute by default")
    give.add_argument("--action", action="append", dest="actions", metavar="ACTION", help="may stand more than once; without it, all")
    give.add_argument("--purpose", action="append", dest="purposes", metavar="PURPOSE", help="may stand more than once; without it, all")
    give.add_argument("--for", dest="duration", required=True, metavar="DURATION", help="30d, 12h or 15m; `ever` until it is withdrawn")
    listed = operators(command(inner, "list", "What was given, and until when.", run_list))
    listed.add_argument("--user", default=None, metavar="PERSON")
    listed.add_argument("--agent", default=None, metavar="SPIFFE-ID")


def expiry(duration: str, now: float) -> int | None:
    """Seconds since the epoch; none for ever.  Raises Stop."""
    if duration == "ever":
        return None
    found = _FOR.fullmatch(duration)
    if found is None:
        raise Stop(Exit.USAGE, "usage", "--for 30d, 12h or 15m, or `ever`")
    return int(now) + int(found[1]) * _UNITS_S[found[2]]


def change_of(person: str, agent: str, body: Relation | None) -> Change:
    """The one fact between this person and this agent."""
    key = relation_key(f"user:{person}", "delegates_to", f"agent:{agent}")
    return Change(kind=Kind.RELATION, key=key, body=body)


def consent_of(args: argparse.Namespace, person: str) -> Relation:
    """What is given.  Raises Stop."""
    try:
        return Relation(
            subject=f"user:{person}",
            relation="delegates_to",
            object=f"agent:{args.agent}",
            actions=tuple(args.actions or ("*",)),
            purposes=tuple(args.purposes or ("*",)),
            expires_at=expiry(args.duration, time.time()),
        )
    except ValueError:
        raise Stop(Exit.USAGE, "usage", "a name without white space, and a SPIFFE ID") from None


async def run_give(args: argparse.Namespace, out: Output) -> int:
    consent_of(args, args.user)
    async with operator(args) as client:
        person = await person_named(client, args.user)
        body = consent_of(args, person)
        applied = await client.apply([change_of(person, args.agent, body)], reason=args.reason)
    out.value(body.plain() | {"revision": applied.revision}, f"given, facts revision {applied.revision}")
    return Exit.DONE


async def run_withdraw(args: argparse.Namespace, out: Output) -> int:
    """First nothing more is granted, then what lives is ended: the other way round would leave a gap."""
    async with operator(args) as client:
        person = await person_named(client, args.user)
        applied = await client.apply([change_of(person, args.agent, None)], reason=args.reason)
        question = {"what": "reach", "target": "user", "value": person}
        reason = args.reason or "the consent was withdrawn"
        entries = [] if args.keep else await sweep(client, question, reason, lambda token: args.agent in (token["agent"], *token["path"]))
    ended = "its live tokens end by themselves" if args.keep else f"its live tokens ended with {len(entries)} entries"
    out.value({"revision": applied.revision, "entries": entries}, f"withdrawn, facts revision {applied.revision}; {ended}")
    return Exit.DONE


async def run_list(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        rows = await client.all(what="list", kind=Kind.RELATION)
        person = None if args.user is None else await person_named(client, args.user)
    bodies = (row["fact"].get("body") for row in rows)
    given = [_row(body) for body in bodies if body is not None and body["relation"] == "delegates_to"]
    wanted = [row for row in given if person in (None, row["user"]) and args.agent in (None, row["agent"])]
    out.rows(wanted, ("user", "agent", "actions", "purposes", "until"), empty="nobody lets an agent act for them")
    return Exit.DONE


def _row(body: dict[str, Any]) -> dict[str, str]:
    ends = body.get("expires_at")
    return {
        "user": body["subject"].partition(":")[2],
        "agent": body["object"].partition(":")[2],
        "actions": " ".join(body.get("actions", ["*"])),
        "purposes": " ".join(body.get("purposes", ["*"])),
        "until": "withdrawn" if ends is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends)),
    }
