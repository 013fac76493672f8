"""`weft keys list|rotate|compromise|sweep`: the keys that sign tokens, and those that sign SETs and receipts, over time."""

from __future__ import annotations

import argparse
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from schemas.commands import Change, Revoke
from schemas.facts import Key, Kind
from workers.cli import signalkeys
from workers.cli.common import Commands, command, group, operator, operators
from workers.cli.exits import Exit, Stop
from workers.cli.output import Output
from workers.common import keyperiods

if TYPE_CHECKING:
    from workers.common.operator_client import OperatorClient

PUBLISH_S = 90  # every guard attaches at least once a minute, and is told besides; a copy of the JWKS lives 30 s
LAST_SET_S = 31 * 86_400  # nothing waits for a receiver longer than thirty days
Purpose = Literal["tokens", "signals", "signals-rs256"]
PURPOSES: tuple[Purpose, ...] = ("tokens", "signals", "signals-rs256")
SIGNALS = PURPOSES[1:]
Held = dict[str, tuple[Key, int]]  # by kid: the fact and its revision


def add(commands: Commands) -> None:
    """Registers them."""
    inner = group(commands, "keys", "The keys that sign tokens and signals.")
    listed = operators(command(inner, "list", "Every key, and where in its life it is.", run_list))
    rotate = operators(command(inner, "rotate", "Make the next key, publish it now, sign with it later: no token is refused.", run_rotate))
    rotate.add_argument(
        "--publish", type=int, default=None, metavar="SECONDS",
        help=f"between publishing and signing ({PUBLISH_S}; of signals {signalkeys.PUBLISH_S})",
    )  # fmt: skip
    compromise = operators(command(inner, "compromise", "Somebody else has this key: nobody believes it any more.", run_compromise))
    compromise.add_argument("kid", metavar="KID")
    sweep = operators(command(inner, "sweep", "Destroy private halves on this disk that sign no more.", run_sweep))
    for parser in (listed, rotate):
        parser.add_argument("--of", choices=PURPOSES, default="tokens", help="whose keys (tokens)")
    sweep.add_argument("--of", choices=SIGNALS, required=True, help="whose keys; those of tokens the broker destroys by itself")
    for parser in (rotate, compromise):
        parser.add_argument("--reason", required=parser is compromise, default=None, help="goes on record")


async def run_list(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        held = await _held(client, args.of)
    now = time.time()
    rows = [_row(key, now) for key, _ in sorted(held.values(), key=lambda one: (one[0].not_before, one[0].kid))]
    current = next((key.kid for key in keyperiods.signing([key for key, _ in held.values()], now)), None)
    for row in rows:
        row["current"] = row["kid"] == current
    out.rows(rows, ("kid", "phase", "current", "signs_from", "signs_until", "verified_until"))
    return Exit.DONE


async def run_rotate(args: argparse.Namespace, out: Output) -> int:
    publish = (PUBLISH_S if args.of == "tokens" else signalkeys.PUBLISH_S) if args.publish is None else args.publish
    if publish < 0:
        raise Stop(Exit.USAGE, "usage", "--publish takes seconds, 0 or more")
    async with operator(args) as client:
        held = await _held(client, args.of)
        waiting = [key.kid for key, _ in held.values() if key.state == "active" and key.not_before > time.time()]
        if waiting:
            raise Stop(Exit.REFUSED, "conflict", f"{waiting[0]} is published and does not sign yet: one rotation at a time")
        starts = int(time.time()) + publish
        changes, kid = await _successor(client, held, starts, args.of)
        applied = await client.apply(changes, reason=args.reason or "rotation")
    out.value({"kid": kid, "signs_from": starts, "revision": applied.revision}, f"{kid} is published, and signs from {_time(starts)}")
    return Exit.DONE


async def run_compromise(args: argparse.Namespace, out: Output) -> int:
    """1. A successor, where this key signs.  2. The fact: nobody who reads facts believes it.  3. The entry: every guard, acknowledged.
    4. What it signed.
    """
    async with operator(args) as client:
        every = {purpose: await _held(client, purpose) for purpose in PURPOSES}
        purpose = next((purpose for purpose, keys in every.items() if args.kid in keys), None)
        if purpose is None:
            raise Stop(Exit.REFUSED, "not_found", f"no key of tokens or signals is called {args.kid}")
        held = every[purpose]
        others = {kid: one for kid, one in held.items() if kid != args.kid}
        changes, successor = await _replaced(client, others, int(time.time()), purpose, forget=args.kid)  # 1
        applied = await client.apply([*changes, _compromised(*held[args.kid])], reason=args.reason)  # 2
        order = Revoke(id=f"cli:{uuid.uuid4().hex}", kind="key", value=args.kid, reason=args.reason)
        revoked = await client.revoke(order)  # 3
        _, tokens = await client.tokens(what="tainted", taint="key", value=args.kid, since=0)  # 4
    signed = [token for token in tokens if token["how"] == "direct"]
    entry = revoked.rows[0].get("n")
    found = {"kid": args.kid, "successor": successor, "revision": applied.revision, "entry": entry, "signed": signed}
    out.value(
        found,
        "\n".join([f"{args.kid} is compromised: entry {entry}; {len(signed)} tokens on record were signed by it", *map(_line, signed)]),
    )
    return Exit.DONE


async def run_sweep(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        gone = signalkeys.sweep(client, args.of, await _held(client, args.of))
    out.value({"destroyed": list(gone)}, "\n".join(f"{kid} is destroyed here" for kid in gone) or "nothing here has stopped signing")
    return Exit.DONE


async def _replaced(
    client: OperatorClient, others: Held, now: int, purpose: Purpose, *, forget: str
) -> tuple[Sequence[Change], str | None]:
    """What it takes for some other key to sign from now on: nothing, the next one sooner, or a new one; and which one that is."""
    forgotten = await signalkeys.voices(client, forget=forget) if purpose == "signals" else []
    if any(keyperiods.phase(key, now) == "signing" for key, _ in others.values()):
        return forgotten, None
    for key, revision in others.values():
        if _open(key):  # published, and waiting for its time
            return (_changed(key, revision, not_before=now), *forgotten), key.kid
    return await _successor(client, {}, now, purpose, forget=forget)


async def _held(client: OperatorClient, purpose: Purpose) -> Held:
    rows = await client.all(what="list", kind=Kind.KEY)
    bodies = [(row["fact"]["body"], row["revision"]) for row in rows if row["fact"].get("body") is not None]
    keys = [(Key.model_validate(body, strict=False), revision) for body, revision in bodies if body["purpose"] == purpose]
    return {key.kid: (key, revision) for key, revision in keys}


async def _successor(
    client: OperatorClient, held: Held, starts: int, purpose: Purpose, *, forget: str | None = None
) -> tuple[list[Change], str]:
    """The next key, from then on, and the end of those that sign now.  A token's is made by the broker, a signal's on this disk."""
    more: list[Change] = []
    if purpose == "tokens":
        made = await client.prepare_key(f"cli:{uuid.uuid4().hex}")
        kid, jwk = made["kid"], made["jwk"]
    else:
        new = signalkeys.make(client, purpose)
        kid, jwk = new.kid, new.jwk
        more = await signalkeys.voices(client, learn=new, forget=forget) if purpose == "signals" else []
    key = Key(purpose=purpose, kid=kid, jwk=jwk, trust_domain=_trust_domain(client), not_before=starts)
    ends = [_changed(old, revision, not_after=max(starts, old.not_before)) for old, revision in held.values() if _open(old)]
    return [Change(kind=Kind.KEY, key=f"{purpose}.{key.kid}", body=key, expected=0), *ends, *more], key.kid


def _trust_domain(client: OperatorClient) -> str:
    return client.settings.trust_domain


def _open(key: Key) -> bool:
    return key.state == "active" and key.not_after is None


def _changed(key: Key, revision: int, **changes: Any) -> Change:
    return Change(kind=Kind.KEY, key=f"{key.purpose}.{key.kid}", body=key.model_copy(update=changes), expected=revision)


def _compromised(key: Key, revision: int) -> Change:
    return _changed(key, revision, state="compromised", not_after=max(int(time.time()), key.not_before))


def _row(key: Key, now: float) -> dict[str, Any]:
    after_s = keyperiods.LAST_TOKEN_S if key.purpose == "tokens" else LAST_SET_S
    verified = None if key.not_after is None or key.state == "compromised" else _time(key.not_after + after_s)
    until = None if key.not_after is None else _time(key.not_after)
    return {
        "kid": key.kid,
        "phase": keyperiods.phase(key, now, after_s),
        "signs_from": _time(key.not_before) if key.not_before else None,
        "signs_until": until,
        "verified_until": verified,
    }


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _line(row: dict[str, Any]) -> str:
    return f"  #{row['seq']}  {_time(row['iat'])}  {row['agent']}  {row['tool']}  {row['jti']}"
