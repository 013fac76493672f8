"""`weft`: the parser, and the one place where an outcome becomes an exit status."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from workers.cli import (
    agents,
    cimd,
    consents,
    drills,
    fabric,
    facts,
    keys,
    policies,
    records,
    responses,
    shared_signals,
    tainted,
    vault,
    waiting,
)
from workers.cli.common import add_common
from workers.cli.exits import Exit, Stop
from workers.cli.output import Output

GROUPS = (
    *(fabric, agents, facts, cimd, consents, responses, waiting, policies),
    *(shared_signals, tainted, drills, records, keys, vault),
)


def parser() -> argparse.ArgumentParser:
    """Every command; `weft COMMAND --help` says the rest."""
    top = argparse.ArgumentParser(
        prog="weft",
        description="Weft, the identity fabric for AI agents.",
        epilog="Exit status: 0 done, 1 refused (with the reason), 2 usage, 3 the fabric is not reachable.",
    )
    add_common(top, top=True)
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for group in GROUPS:
        group.add(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    args = parser().parse_args(arguments)
    out = Output(as_json=args.json)
    try:
        with asyncio.Runner(loop_factory=_loop(args)) as runner:
            return int(runner.run(args.run(args, out)))
    except Stop as stop:
        out.stop(stop)
        return int(stop.status)
    except ValidationError as error:  # of what was typed: what the fabric answers is parsed where it arrives
        out.stop(_not_taken(error))
        return int(Exit.USAGE)
    except KeyboardInterrupt:
        return 128 + 2
    except BrokenPipeError:  # `weft record replay | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.DONE)


def _not_taken(error: ValidationError) -> Stop:
    found = (
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors(include_input=False, include_url=False)
    )
    return Stop(Exit.USAGE, "usage", "; ".join(found))


def _loop(args: argparse.Namespace) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """One of uvloop for what stays (`set_defaults(uvloop=True)`); a command that answers and ends is quicker without loading it."""
    if not getattr(args, "uvloop", False):
        return None
    import uvloop

    return uvloop.new_event_loop


def entry() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
