"""`weft revoke`, `lift`, `signal send`: taking back, giving back, and telling the fabric something it should know."""

from __future__ import annotations

import argparse
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.commands import Lift, Revoke
from schemas.signals import CAEP, SET_TYP
from schemas.subject_ids import person_in
from workers.cli.common import Commands, command, group, operator, operators, settings_of
from workers.cli.exits import Exit, Stop
from workers.cli.names import person_named
from workers.cli.output import Output
from workers.cli.reach import previewed

if TYPE_CHECKING:
    from workers.common.operator_client import OperatorClient

REVOCABLE = ("token", "transaction", "instance", "agent", "namespace", "user", "key")
UNKNOWN = ", and no provider calls anybody so: of a provider with a namespace the name is NAMESPACE::SUB"
NAMES = {"token": "jti", "transaction": "txn", "instance": "instance"}  # kinds that the record tells of, by their ids
MAX_NAMED = 5
LIFTABLE = ("instance", "agent", "namespace", "user", "transaction")


def add(commands: Commands) -> None:
    """Registers them."""
    revoke = operators(command(commands, "revoke", "Take back, at every enforcement point.", run_revoke))
    revoke.add_argument("kind", choices=REVOCABLE)
    revoke.add_argument("--preview", action="store_true", help="show whom it would hit, and do nothing")
    revoke.add_argument("--reason", default=None, help="goes on record; required unless --preview")
    lift = operators(command(commands, "lift", "Lift a posture, whoever caused it.", run_lift))
    lift.add_argument("kind", choices=LIFTABLE)
    lift.add_argument("--reason", required=True, help="goes on record")
    for parser in (revoke, lift):
        parser.add_argument(
            "value",
            help="its id; of a user the name that relations have, or ISSUER#SUB; of a token or transaction what you have: its jti, txn or "
            "explanation id, or the digest that a record names it by",
        )
        parser.add_argument(
            "--agent", default=None, metavar="SPIFFE-ID", help="whose instance it is, or token or transaction; else found in the record"
        )
    inner = group(commands, "signal", "Security Event Tokens.")
    send = operators(command(inner, "send", "Sign a CAEP event with a transmitter's key and deliver it on the bus.", run_send))
    send.add_argument("--key", type=Path, required=True, help="the transmitter's private key: a PEM file, P-256")
    send.add_argument("--iss", required=True)
    send.add_argument("--kid", required=True)
    send.add_argument("--event", default="risk-level-change", help="a CAEP event type, or a whole URI")
    send.add_argument("--subject", required=True, metavar="SUBJECT", help="SPIFFE ID, email address or ISSUER#SUB")
    send.add_argument("--instance", default=None)
    send.add_argument("--level", default="high", choices=("low", "medium", "high"))


async def run_revoke(args: argparse.Namespace, out: Output) -> int:
    if args.preview:
        return await run_preview(args, out)
    if args.reason is None:
        raise Stop(Exit.USAGE, "no_reason", "--reason is required")
    async with operator(args) as client:
        value, agent, record = await _what(client, args)
        order = Revoke(id=f"cli:{uuid.uuid4().hex}", kind=args.kind, value=value, agent=agent, record=record, reason=args.reason)
        answer = await client.revoke(order)
    nobody = args.kind == "user" and answer.rows[0].get("provider") is None
    whose = f" of {agent}" if agent is not None else ""
    out.value(answer.plain(), f"revoked {args.kind} {value}{whose}" + (UNKNOWN if nobody else ""))
    return Exit.DONE


async def _what(client: OperatorClient, args: argparse.Namespace) -> tuple[str, str | None, int | None]:
    """The id of what is meant, whose it is, and where RECORD tells so, as far as anybody has to know."""
    said: str = args.value
    if args.kind == "user":
        return await person_named(client, said), args.agent, None
    if args.kind not in NAMES or args.agent is not None:
        return said, args.agent, None
    _, tokens = await client.tokens(what="find", value=said)
    named = found(args.kind, tokens)
    if named is None:
        raise Stop(Exit.REFUSED, "not_found", f"RECORD tells you of no {args.kind} {said}; if you are sure, say whose with --agent")
    return named[NAMES[args.kind]], named["agent"], None if args.kind == "instance" else named["seq"]


def found(kind: str, tokens: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The token that tells which one is meant.  Raises Stop where it could be several; what is over does not count beside what lives."""
    meant = [token for token in tokens if token["live"]] or list(tokens)
    ids = list(dict.fromkeys(token[NAMES[kind]] for token in meant if token[NAMES[kind]]))
    if len(ids) > 1:
        named = ", ".join(ids[:MAX_NAMED]) + (", ..." if len(ids) > MAX_NAMED else "")
        raise Stop(Exit.USAGE, "ambiguous", f"that is {len(ids)} {kind}s: {named}; name one of them, or revoke the transaction")
    return next((token for token in meant if ids and token[NAMES[kind]] == ids[0]), None)


async def run_preview(args: argparse.Namespace, out: Output) -> int:
    """What audit knows of live tokens; the revoker's own view of agents below a prefix stands in the answer to the command."""
    async with operator(args) as client:
        value, _, _ = await _what(client, args)
        found, tokens = await client.tokens(what="reach", target=args.kind, value=value)
    out.value({"summary": found, "tokens": tokens}, previewed(found, tokens))
    return Exit.DONE


async def run_lift(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        value, agent, record = await _what(client, args)
        order = Lift(id=f"cli:{uuid.uuid4().hex}", scope=args.kind, value=value, agent=agent, record=record, reason=args.reason)
        answer = await client.lift(order)
    out.value(answer.plain(), f"lifted {args.kind} {value}")
    return Exit.DONE


def subject_of(subject: str, instance: str | None) -> dict[str, Any]:
    """A subject identifier, RFC 9493: `uri`, `iss_sub` (ISSUER#SUB), `email`, or complex with Weft's `instance` member."""
    if not subject.startswith("spiffe://"):
        return dict(person_in(subject))
    workload: dict[str, Any] = {"format": "uri", "uri": subject}
    if instance is None:
        return workload
    return {"format": "complex", "workload": workload, "instance": {"format": "opaque", "id": instance}}


def signed_set(args: argparse.Namespace, audience: str) -> str:
    """The SET, RFC 8417 with SSF 1.0 section 4.1."""
    import jwt

    try:
        pem = args.key.read_bytes()
    except OSError as error:
        raise Stop(Exit.REFUSED, "no_key", f"{args.key}: {error.strerror}") from None
    now = int(time.time())
    principal = "WORKLOAD" if args.subject.startswith("spiffe://") else "USER"
    event = {"principal": principal, "current_level": args.level.upper(), "event_timestamp": now, "initiating_entity": "admin"}
    claims = {
        "iss": args.iss,
        "aud": audience,
        "iat": now,
        "jti": uuid.uuid4().hex,
        "sub_id": subject_of(args.subject, args.instance),
        "events": {args.event if "://" in args.event else CAEP + args.event: event},
    }
    try:
        return jwt.encode(claims, pem, "ES256", {"typ": SET_TYP, "kid": args.kid})
    except (ValueError, TypeError, jwt.PyJWTError):
        raise Stop(Exit.REFUSED, "bad_key", f"{args.key} is not a P-256 private key in PEM") from None


async def run_send(args: argparse.Namespace, out: Output) -> int:
    token = signed_set(args, settings_of(args).issuer)
    async with operator(args) as client:
        answer = await client.send_set(token)
    if not answer.accepted:
        raise Stop(Exit.REFUSED, answer.err or "refused", answer.description or "")
    out.value(answer.plain(), "accepted")
    return Exit.DONE
