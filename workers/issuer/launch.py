"""`weft agent run SPIFFE-ID -- COMMAND`: this very process becomes the program.

It registers itself with the issuer and then executes the command.  Pid and start time stay the same across exec(2), so the kernel's
word about the caller now is its word about the program later; no parent stands between the program and its terminal or its signals.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from config.settings import Settings
from workers.issuer.control import DEADLINE_S, MAX_LINE_BYTES, LaunchAnswer, LaunchRequest
from workers.issuer.service import api_socket, control_socket

MAX_INTERPRETERS = 4  # BINPRM_MAX_RECURSION
MAX_LINE = 255


class LaunchRefused(Exception):
    """The program does not start as that agent; the text says why."""


class IssuerUnreachable(LaunchRefused):
    """No issuer answers."""


async def launch(settings: Settings, spiffe_id: str, words: Sequence[str]) -> NoReturn:
    """Register, then execute.  Raises LaunchRefused."""
    argv = as_executed((_program(words[0]), *words[1:]))
    await register(settings, spiffe_id, argv)
    execute(argv, environment(settings))


async def register(settings: Settings, spiffe_id: str, argv: Sequence[str]) -> str:
    """Tell the issuer what this process is about to become; returns its instance id.  Raises LaunchRefused."""
    try:
        request = LaunchRequest(spiffe_id=spiffe_id, argv=tuple(argv))
    except ValidationError:
        raise LaunchRefused("not a SPIFFE ID, or not a command") from None
    try:
        async with asyncio.timeout(DEADLINE_S):
            answer = await _ask(control_socket(settings), request)
    except (OSError, TimeoutError, ValueError):
        raise IssuerUnreachable(f"no issuer answers at {control_socket(settings)}") from None
    if answer.instance is None:
        raise LaunchRefused(answer.refused or "refused")
    return answer.instance


def environment(settings: Settings) -> dict[str, str]:
    """Ours, and what the SDK needs to find the fabric."""
    found = {
        **os.environ,
        "SPIFFE_ENDPOINT_SOCKET": f"unix://{api_socket(settings)}",
        "WEFT_SERVERS": ",".join(settings.servers),
        "WEFT_TRUST_DOMAIN": settings.trust_domain,
    }
    return {**found, "WEFT_CA": str(settings.tls_ca)} if settings.tls_ca is not None else found


def execute(argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Become the program.  Raises LaunchRefused where it cannot be started."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(argv[0], list(argv), dict(env))  # noqa: S606 - no shell is wanted, and the issuer has compared the arguments
    except OSError as error:
        raise LaunchRefused(f"{argv[0]} does not start: {error.strerror}") from None


async def _ask(path: Path, request: LaunchRequest) -> LaunchAnswer:
    reader, writer = await asyncio.open_unix_connection(str(path), limit=MAX_LINE_BYTES)
    try:
        writer.write(request.wire() + b"\n")
        return LaunchAnswer.model_validate_json(await reader.readline())
    finally:
        writer.close()


def as_executed(argv: tuple[str, ...]) -> tuple[str, ...]:
    """What the kernel makes of a script (execve(2), "Interpreter scripts"): its interpreter runs, and is what the issuer sees.

    `#!/usr/bin/env NAME` would execute once more, as NAME of the path: that is resolved here as well.
    """
    for _ in range(MAX_INTERPRETERS):
        words = _interpreter(argv[0])
        if not words:
            break
        if Path(words[0]).name == "env" and len(words) == 2 and not words[1].startswith("-") and " " not in words[1]:
            words = (_program(words[1]),)
        argv = (*words, *argv)
    return argv


def _interpreter(program: str) -> tuple[str, ...]:
    """The interpreter and its one argument, if any, that the first line of a script names."""
    try:
        with Path(program).open("rb") as file:
            line = file.readline(MAX_LINE)
    except OSError:
        return ()  # execve says why
    return tuple(os.fsdecode(line[2:]).strip().split(maxsplit=1)) if line.startswith(b"#!") else ()


def _program(word: str) -> str:
    """Its absolute path, as a shell would find it; links are kept, since a virtual environment's interpreter is one."""
    found = shutil.which(word)
    if found is None:
        raise LaunchRefused(f"{word} is no program")
    return str(Path(found).absolute())
