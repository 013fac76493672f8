"""What the commands share: their options, and the operator's connection."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from config.settings import Settings, SettingsError, load
from workers.cli.exits import Exit, Stop
from workers.cli.output import Output

if TYPE_CHECKING:
    from workers.common.operator_client import OperatorClient

DEFAULT_DIR = Path("var/weft")

Command = Callable[[argparse.Namespace, Output], Awaitable[int]]
# argparse has no public name for it.
_VALUE = re.compile(r"-[A-Za-z0-9_][A-Za-z0-9_-]{19,}|-\d+|-\d*\.\d+", re.ASCII)  # one id of 64 begins with a hyphen; or a number
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def add_common(parser: argparse.ArgumentParser, *, top: bool) -> None:
    """`--json` and `--dir`, before or after the command's name: the later one wins."""
    given = Path(os.environ.get("WEFT_DIR", DEFAULT_DIR))
    parser.add_argument("--json", action="store_true", default=False if top else argparse.SUPPRESS, help="answer as JSON")
    parser.add_argument(
        "--dir", type=Path, default=given if top else argparse.SUPPRESS, help="the fabric's folder (WEFT_DIR, else var/weft)"
    )


def command(commands: Commands, name: str, help_text: str, run: Command) -> argparse.ArgumentParser:
    """A subcommand with the common options."""
    parser = commands.add_parser(name, help=help_text, description=help_text)
    parser._negative_number_matcher = _VALUE  # noqa: SLF001 - argparse has no other way to say that this is a value
    add_common(parser, top=False)
    parser.set_defaults(run=run)
    return parser


def group(commands: Commands, name: str, help_text: str) -> Commands:
    """A command of subcommands."""
    parser = commands.add_parser(name, help=help_text, description=help_text)
    add_common(parser, top=False)
    return parser.add_subparsers(metavar="COMMAND", required=True)


def operators(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """For commands that speak as a person."""
    parser.add_argument("--as", dest="operator", default="operator", metavar="NAME", help="the person: operators/NAME.seed in the folder")
    return parser


def settings_of(args: argparse.Namespace) -> Settings:
    """The fabric of `--dir`."""
    try:
        return load(args.dir)
    except SettingsError as error:
        raise Stop(Exit.UNREACHABLE, "no_fabric", str(error)) from None


@asynccontextmanager
async def operator(args: argparse.Namespace) -> AsyncIterator[OperatorClient]:
    """Connected as the person `--as` names.  What the fabric refuses and what cannot be reached end the command."""
    from workers.common.operator_client import OperatorClient, Refused, Unreachable

    settings = settings_of(args)
    seed_file = settings.state / "operators" / f"{args.operator}.seed"
    try:
        seed = seed_file.read_text().strip()
    except OSError:
        raise Stop(Exit.REFUSED, "no_such_person", f"{seed_file} cannot be read") from None
    try:
        async with OperatorClient(settings, seed) as client:
            yield client
    except Refused as refused:
        raise Stop(Exit.REFUSED, refused.reason, refused.detail) from None
    except Unreachable as error:
        raise Stop(Exit.UNREACHABLE, "unreachable", str(error)) from None
