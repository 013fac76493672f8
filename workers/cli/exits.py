"""How the command line ends."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit status of every command."""

    DONE = 0
    REFUSED = 1  # the fabric said no, with its reason; or something differs that should not
    USAGE = 2  # as argparse has it
    UNREACHABLE = 3


class Stop(Exception):
    """Ends a command with a status and one sentence."""

    def __init__(self, status: Exit, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.status, self.reason, self.detail = status, reason, detail
