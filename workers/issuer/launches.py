"""Who said what it would become, kept until the kernel says that the process has ended.

The table is a file too, since a program must outlive a restart of the issuer.  What is read back counts only for processes that still
live: the same boot, pid and start time.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path

import structlog

from streams.secretfile import LooseSecret, read_secret, write_secret
from workers.common import log
from workers.issuer.kernel import NotAttested, has_ended, start_ticks
from workers.issuer.registered import Launch

MAX_LAUNCHES = 4096
logger = structlog.get_logger()
Key = tuple[int, int]  # pid and start time


class TooManyLaunches(Exception):
    """The table is full of living processes."""


class Launches:
    """An entry goes when its process does; `close` stops watching and leaves the file."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self._path = path
        self._boot_id = boot_id
        self._launches: dict[Key, Launch] = {}
        self._watched: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._launches)

    def add(self, key: Key, pidfd: int, launch: Launch) -> None:
        """Remember it; a later word of the same process replaces the earlier one.  Takes the descriptor.  Raises TooManyLaunches."""
        if key not in self._launches and len(self._launches) >= MAX_LAUNCHES:
            os.close(pidfd)
            raise TooManyLaunches
        self._watch(key, pidfd, launch)
        rows = [[*known, one.spiffe_id, one.argv] for known, one in self._launches.items()]
        write_secret(self._path, json.dumps({"boot_id": self._boot_id, "launches": rows}).encode())

    def restore(self) -> None:
        """Read back who was launched before; a file that cannot be believed is nobody."""
        try:
            held = json.loads(read_secret(self._path))
            rows = held["launches"] if held["boot_id"] == self._boot_id else []
            launches = {(pid, start): Launch(spiffe_id, tuple(argv)) for pid, start, spiffe_id, argv in rows}
        except FileNotFoundError:
            return
        except (LooseSecret, OSError, ValueError, TypeError, KeyError):
            logger.warning(log.LAUNCHES_LOST)
            return
        for key, launch in launches.items():
            self._resume(key, launch)

    def of(self, key: Key) -> Launch | None:
        """What this process said."""
        return self._launches.get(key)

    def close(self) -> None:
        """Watch nobody."""
        for key in tuple(self._watched):
            self._forget(key)

    def _resume(self, key: Key, launch: Launch) -> None:
        try:
            pidfd = os.pidfd_open(key[0])
        except OSError:
            return
        with suppress(NotAttested):  # the start time after opening: so it is of the process that the descriptor is of
            if start_ticks(key[0]) == key[1] and not has_ended(pidfd):
                self._watch(key, pidfd, launch)
                return
        os.close(pidfd)

    def _watch(self, key: Key, pidfd: int, launch: Launch) -> None:
        if key in self._watched:
            self._forget(key)
        self._launches[key] = launch
        self._watched[key] = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._forget, key)

    def _forget(self, key: Key) -> None:
        pidfd = self._watched.pop(key)
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        del self._launches[key]
