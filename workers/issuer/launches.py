"""Who said what it would become, kept until the kernel says that the process has ended."""

from __future__ import annotations

import asyncio
import os

from workers.issuer.kernel import Peer, Process, has_ended
from workers.issuer.registered import Launch

MAX_LAUNCHES = 4096


class TooManyLaunches(Exception):
    """The table is full of living processes."""


class Launches:
    """By pid and start time.  An entry goes when its process does; `close` forgets all."""

    def __init__(self) -> None:
        self._launches: dict[tuple[int, int], Launch] = {}
        self._watched: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._launches)

    def add(self, peer: Peer, process: Process, launch: Launch) -> None:
        """Remember it; a later word of the same process replaces the earlier one.  Raises TooManyLaunches."""
        if process.key not in self._launches:
            if len(self._launches) >= MAX_LAUNCHES:
                raise TooManyLaunches
            pidfd = peer.pidfd()
            self._watched[process.key] = pidfd
            asyncio.get_running_loop().add_reader(pidfd, self._ended, process.key)
        self._launches[process.key] = launch

    def of(self, process: Process) -> Launch | None:
        """What this process said."""
        return self._launches.get(process.key)

    def close(self) -> None:
        """Forget everybody."""
        for key in tuple(self._watched):
            self._forget(key)

    def _ended(self, key: tuple[int, int]) -> None:
        if has_ended(self._watched[key]):
            self._forget(key)

    def _forget(self, key: tuple[int, int]) -> None:
        pidfd = self._watched.pop(key)
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        del self._launches[key]
