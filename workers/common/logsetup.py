"""How log lines look: JSON for machines, columns for people, and never a credential.

`scrub` is the second line of defence.  The first is that nobody logs a token, key or payload (log.py); this one sees what slipped,
replaces it, and leaves a mark that a test or a reader can find.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from pathlib import Path

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

SCRUBBED = "[scrubbed]"

# A compact JWS or JWE (its header always starts `{"`, base64url `eyJ`), an nkey seed, a PEM private key.
_CREDENTIAL = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+|\bS[UAOXNC][A-Z2-7]{40,}|-----BEGIN [A-Z ]*PRIVATE KEY-----")


def scrub(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Replace every value that holds a credential."""
    for name, value in line.items():
        if not isinstance(value, bool | int | float | None) and _CREDENTIAL.search(str(value)):
            line[name] = SCRUBBED
    return line


def printable(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """For a terminal: no control character of whoever wrote a value.  The renderer writes what has no space in it as it is."""
    for name, value in line.items():
        if isinstance(value, str) and not value.isprintable():
            line[name] = "".join(char if char.isprintable() else "?" for char in value)
    return line


def where(error: BaseException) -> str:
    """The innermost line of ours that an error came through; its text may quote what was being read, its place does not."""
    if isinstance(error, BaseExceptionGroup):
        return where(error.exceptions[0])
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    return f"{'/'.join(Path(frames[-1].filename).parts[-3:])}:{frames[-1].lineno}" if frames else "-"


def configure(*, as_json: bool | None = None, level: int = logging.INFO) -> None:
    """Set structlog up, to standard error: JSON unless that is a terminal."""
    if as_json is None:
        as_json = not sys.stderr.isatty()
    rendering: list[Processor] = [structlog.processors.JSONRenderer()] if as_json else [printable, structlog.dev.ConsoleRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            scrub,
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries keep to themselves: their lines may quote what they were given.
    logging.getLogger().addHandler(logging.NullHandler())
