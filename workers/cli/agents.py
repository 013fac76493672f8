"""`weft agent run`, `weft invoke`: programs with an identity, and asking as one of them."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from workers.cli.common import Commands, command, group, settings_of
from workers.cli.exits import Exit, Stop
from workers.cli.output import Output

if TYPE_CHECKING:
    from weft.agent import Agent, StepUp

CONNECT_S = 10.0
FROM_LAUNCH = {"SPIFFE_ENDPOINT_SOCKET", "WEFT_SERVERS", "WEFT_TRUST_DOMAIN"}  # what `weft agent run` puts into the environment


def add(commands: Commands) -> None:
    """Registers them."""
    inner = group(commands, "agent", "Programs with an identity.")
    run = command(inner, "run", "Start COMMAND as the agent SPIFFE-ID, where its registered selectors match.", run_agent)
    run.add_argument("spiffe_id", metavar="SPIFFE-ID")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    invoke = command(commands, "invoke", "Ask for one call, as an agent: weft agent run SPIFFE-ID -- weft invoke ...", run_invoke)
    invoke.add_argument("tool")
    invoke.add_argument("--action", action="append", required=True, dest="actions", metavar="ACTION")
    invoke.add_argument("--purpose", required=True)
    invoke.add_argument("--method", default="POST", help="of the HTTP request that is to follow (POST)")
    invoke.add_argument("--path", default=None, help="its path with query, after the tool's endpoint; most tools bind a token to it")
    invoke.add_argument("--body", default="", metavar="TEXT-OR-@FILE", help="its body, byte for byte")
    invoke.add_argument("--user-token", type=Path, default=None, metavar="FILE", help="on behalf of: the person's access token (RFC 9068)")
    invoke.add_argument("--intent", default=None, help="free text; recorded, never helps")
    invoke.add_argument(
        "--wait", type=int, default=0, metavar="SECONDS", help="where it has to step up: show what is asked for, and ask again"
    )
    invoke.add_argument("--ttl", type=int, default=None, metavar="SECONDS")
    invoke.add_argument("--show-token", action="store_true", help="print the token too: whoever reads it may make the call")


async def run_agent(args: argparse.Namespace, _out: Output) -> int:
    from workers.issuer.launch import IssuerUnreachable, LaunchRefused, launch

    words = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not words:
        raise Stop(Exit.USAGE, "usage", "weft agent run SPIFFE-ID -- COMMAND")
    try:
        await launch(settings_of(args), args.spiffe_id, words)
    except IssuerUnreachable as error:
        raise Stop(Exit.UNREACHABLE, "unreachable", str(error)) from None
    except LaunchRefused as refused:
        raise Stop(Exit.REFUSED, "not_attested", str(refused)) from None


def read(path: Path) -> bytes:
    """A file that an option names."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Stop(Exit.USAGE, "usage", f"{path}: {error.strerror}") from None


@asynccontextmanager
async def this_agent() -> AsyncIterator[Agent]:
    """Connected as the agent that this process was started as."""
    from weft.agent import Agent
    from weft.connection import Connection
    from weft.errors import Unavailable

    if not os.environ.keys() >= FROM_LAUNCH:
        raise Stop(Exit.USAGE, "no_identity", "run it as an agent: weft agent run SPIFFE-ID -- weft invoke ...")
    logging.getLogger("weft").setLevel(logging.ERROR)  # what was tried in vain is said once, below
    connection = Connection.from_env("agent")
    try:
        await connection.start(CONNECT_S)
        yield Agent(connection)
    except Unavailable as error:
        raise Stop(Exit.UNREACHABLE, "unreachable", str(error)) from None
    finally:
        await connection.close()


def _needed(step_up: StepUp) -> str:
    return f"{step_up.needs}{f' {step_up.approval}' if step_up.approval is not None else ''}"


async def run_invoke(args: argparse.Namespace, out: Output) -> int:
    from weft.agent import HTTPCall, Refusal, StepUp

    body = read(Path(args.body[1:])) if args.body.startswith("@") else args.body.encode()
    call = HTTPCall(args.method, args.path, body) if args.path is not None else None
    user_token = read(args.user_token).decode(errors="replace").strip() if args.user_token is not None else None
    options = {"call": call, "user_token": user_token, "intent": args.intent, "ttl_s": args.ttl}
    async with this_agent() as agent:
        answer = await agent.invoke(args.tool, args.actions, args.purpose, **options)
        if isinstance(answer, StepUp) and args.wait > 0:
            out.say(f"it needs {_needed(answer)}; waiting for at most {args.wait} s")
            answer = await agent.step_up(answer, wait_s=args.wait)
    if isinstance(answer, Refusal):
        status = Exit.UNREACHABLE if answer.code == "unavailable" else Exit.REFUSED
        needs = f"{_needed(answer)}; " if isinstance(answer, StepUp) else ""
        raise Stop(status, answer.code, f"{needs}explanation {answer.explanation}")
    told = {"txn": answer.txn, "endpoint": answer.endpoint, "actions": answer.actions, "expires_at": answer.expires_at}
    told |= {"explanation": answer.explanation} | ({"token": answer.token} if args.show_token else {})
    out.value(told, "\n".join(f"{name:12} {', '.join(value) if isinstance(value, tuple) else value}" for name, value in told.items()))
    return Exit.DONE
