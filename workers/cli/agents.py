"""`weft agent run`, `weft invoke`: programs with an identity, and asking as one of them."""

from __future__ import annotations

import argparse
import os

from workers.cli.common import Commands, command, group, settings_of
from workers.cli.exits import Exit, Stop
from workers.cli.output import Output


def add(commands: Commands) -> None:
    """Registers them."""
    inner = group(commands, "agent", "Programs with an identity.")
    run = command(inner, "run", "Start COMMAND as the agent SPIFFE-ID, where its registered selectors match.", run_agent)
    run.add_argument("spiffe_id", metavar="SPIFFE-ID")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    invoke = command(commands, "invoke", "Ask for one call, as the agent this shell is (`weft agent run ... -- sh`).", run_invoke)
    invoke.add_argument("tool")
    invoke.add_argument("--action", action="append", required=True, dest="actions", metavar="ACTION")
    invoke.add_argument("--purpose", required=True)
    invoke.add_argument("--intent", default=None, help="free text; recorded, never helps")
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


async def run_invoke(args: argparse.Namespace, out: Output) -> int:
    from weft.agent import Agent, Refusal

    if "SPIFFE_ENDPOINT_SOCKET" not in os.environ:
        raise Stop(Exit.USAGE, "no_identity", "run it as an agent: weft agent run SPIFFE-ID -- weft invoke ...")
    async with Agent.from_env() as agent:
        answer = await agent.invoke(args.tool, args.actions, args.purpose, intent=args.intent, ttl_s=args.ttl)
    if isinstance(answer, Refusal):
        raise Stop(Exit.REFUSED, answer.code, f"explanation {answer.explanation}")
    told = {"txn": answer.txn, "endpoint": answer.endpoint, "actions": answer.actions, "expires_at": answer.expires_at}
    told |= {"explanation": answer.explanation} | ({"token": answer.token} if args.show_token else {})
    out.value(told, "\n".join(f"{name:12} {value}" for name, value in told.items()))
    return Exit.DONE
