"""`weft vault put|list|rotate|use|delete|backup|restore`: what tools really need, in the broker's keeping.

A value is read from a file or from standard input, never from an argument, which others on the machine could see; it leaves this process
in a sealed box that the broker alone opens.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.facts import Kind
from workers.cli.common import Commands, command, group, operator, operators
from workers.cli.exits import Exit, Stop
from workers.cli.output import Output

if TYPE_CHECKING:
    from schemas.vault import VaultCommand
    from workers.common.operator_client import OperatorClient

TYPES = ("api_key", "client_secret", "refresh_token", "password")
BACKUP_FORMAT = "weft vault backup 1"


def add(commands: Commands) -> None:
    """Registers them."""
    inner = group(commands, "vault", "What tools really need: API keys, client secrets, refresh tokens.")
    put = operators(command(inner, "put", "Keep a new credential; its value is read from --from or standard input.", run_put))
    put.add_argument("--host", action="append", required=True, dest="hosts", metavar="HOST[:PORT]", help="an upstream that may see it")
    put.add_argument("--type", default="api_key", choices=TYPES)
    rotate = operators(command(inner, "rotate", "Give a credential its next value; calls from now on use it.", run_rotate))
    use = operators(command(inner, "use", "Go back to a version that is still kept.", run_use))
    use.add_argument("--version", type=int, required=True)
    delete = operators(command(inner, "delete", "Forget a credential that no tool uses.", run_delete))
    for parser in (put, rotate, use, delete):
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--reason", default=None, help="goes on record")
    for parser in (put, rotate):
        parser.add_argument("--from", type=Path, default=None, dest="source", metavar="FILE", help="instead of standard input")
    operators(command(inner, "list", "What is kept, without values.", run_list))
    backup = operators(command(inner, "backup", "Write every credential, sealed as it lies in the vault, to a file.", run_backup))
    restore = operators(
        command(inner, "restore", "Bring back what a vault lost, or fill a new one with the same key-encryption key.", run_restore)
    )
    for parser in (backup, restore):
        parser.add_argument("file", type=Path, metavar="FILE")


async def run_put(args: argparse.Namespace, out: Output) -> int:
    value, hosts = _value(args.source), tuple(host.lower() for host in args.hosts)
    async with operator(args) as client:
        row = await client.vault(await _boxed(client, "put", args, type_=args.type, hosts=hosts, value=value))
    out.value(row, f"{args.name} is kept, version {row['current']}, for {', '.join(hosts)}")
    return Exit.DONE


async def run_rotate(args: argparse.Namespace, out: Output) -> int:
    value = _value(args.source)
    async with operator(args) as client:
        fact = next((fact for fact in await _facts(client) if fact["name"] == args.name), None)
        if fact is None:
            raise Stop(Exit.REFUSED, "not_found", f"there is no credential {args.name}: weft vault put")
        order = await _boxed(client, "rotate", args, type_=fact["type"], hosts=tuple(fact["hosts"]), value=value)
        row = await client.vault(order)
    out.value(row, f"{args.name} is at version {row['current']}")
    return Exit.DONE


async def run_use(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        row = await client.vault(_order("use", name=args.name, version=args.version, reason=args.reason))
    out.value(row, f"{args.name} is at version {row['current']} again")
    return Exit.DONE


async def run_delete(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        row = await client.vault(_order("delete", name=args.name, reason=args.reason))
    out.value(row, f"{args.name} is deleted")
    return Exit.DONE


async def run_list(args: argparse.Namespace, out: Output) -> int:
    async with operator(args) as client:
        facts = await _facts(client)
    rows = [{**fact, "kept": [version["version"] for version in fact["versions"]]} for fact in facts]
    out.rows(facts if out.as_json else rows, ("name", "type", "hosts", "current", "kept"), empty="the vault holds nothing")
    return Exit.DONE


async def run_backup(args: argparse.Namespace, out: Output) -> int:
    from streams.secretfile import write_secret

    async with operator(args) as client:
        names = [fact["name"] for fact in await _facts(client)]
        kept = [(await client.vault(_order("backup", name=name)))["kept"] for name in names]
    args.file.parent.resolve(strict=True)
    write_secret(args.file.resolve(), json.dumps({"format": BACKUP_FORMAT, "credentials": kept}, indent=1).encode() + b"\n")
    out.value({"file": str(args.file), "credentials": names}, f"{len(names)} credentials, sealed, in {args.file}")
    return Exit.DONE


async def run_restore(args: argparse.Namespace, out: Output) -> int:
    from schemas.vault import Kept

    try:
        held = json.loads(args.file.read_bytes())
        kept = [Kept.model_validate(one, strict=False) for one in held["credentials"] if held["format"] == BACKUP_FORMAT]
    except (OSError, ValueError, KeyError, TypeError):
        raise Stop(Exit.REFUSED, "no_backup", f"{args.file} is not a backup of a vault") from None
    async with operator(args) as client:
        rows = [await client.vault(_order("restore", name=one.fact.name, kept=one)) for one in kept]
    out.value(rows, f"{len(rows)} credentials restored")
    return Exit.DONE


def _value(source: Path | None) -> str:
    """From the file, or all of standard input; one line end at the end is not part of it."""
    try:
        raw = sys.stdin.buffer.read() if source is None else source.read_bytes()
        return raw.decode("ascii").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise Stop(Exit.REFUSED, "no_value", f"{source}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Stop(Exit.REFUSED, "no_value", "a credential is printable ASCII, 8 to 16384 characters on one line") from None


async def _boxed(
    client: OperatorClient, what: str, args: argparse.Namespace, *, type_: str, hosts: Sequence[str], value: str
) -> VaultCommand:
    """The command, its value sealed to the broker's key."""
    from nacl.public import PublicKey, SealedBox
    from pydantic import ValidationError
    from weft.digest import b64u, unb64u

    from schemas.vault import Boxed

    box_key = (await client.vault(_order("key")))["box_key"]
    try:
        boxed = Boxed.model_validate({"name": args.name, "type": type_, "hosts": tuple(hosts), "value": value})
    except ValidationError as error:
        wrong = ", ".join(sorted({str(found["loc"][0]) for found in error.errors(include_input=False)}))
        raise Stop(Exit.REFUSED, "invalid", f"not a credential: {wrong} (a value is 8 to 16384 printable ASCII characters)") from None
    sealed = b64u(SealedBox(PublicKey(unb64u(box_key))).encrypt(boxed.wire()))
    return _order(what, name=args.name, type=type_, hosts=tuple(hosts), box_key=box_key, boxed=sealed, reason=args.reason)


def _order(what: str, **members: Any) -> VaultCommand:
    from pydantic import ValidationError

    from schemas.vault import VaultCommand

    try:
        return VaultCommand.model_validate({"id": f"cli:{uuid.uuid4().hex}", "what": what, **members})
    except ValidationError as error:
        wrong = ", ".join(sorted({str(found["loc"][0]) for found in error.errors(include_input=False)}))
        raise Stop(Exit.REFUSED, "invalid", f"not what the vault takes: {wrong}") from None


async def _facts(client: OperatorClient) -> list[Mapping[str, Any]]:
    rows = await client.all(what="list", kind=Kind.CREDENTIAL)
    return [row["fact"]["body"] for row in rows if row["fact"].get("body") is not None]
