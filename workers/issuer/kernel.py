"""What the kernel says of the process at the other end of a Unix socket.  unix(7) SO_PEERCRED, pidfd_open(2), proc_pid_stat(5).

A pid is a name that is used again.  `Peer` therefore pins the process when it connects, by a pidfd where the kernel hands one out
with the connection (SO_PEERPIDFD, Linux 6.5) and by its start time always, and `Peer.process` reads `/proc` only between two checks
that this very process still lives; so an answer is never about somebody who came later.

The arguments a process shows are its own to change: they are read only to be compared with what was registered when it was launched.
Reading another user's executable takes CAP_SYS_PTRACE; without it that user's programs have no identity here.
"""

from __future__ import annotations

import base64
import hashlib
import os
import select
import socket
import struct
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Protocol

_SO_PEERPIDFD = 77  # asm-generic/socket.h; Python 3.11 has no name for it
_PROC = Path("/proc")
_PEERCRED = struct.Struct("3i")  # pid, uid, gid
_START_TIME = 22 - 3  # field 22 of stat, counted from the third, which is the first after the name in parentheses
_MAX_DIGESTS = 1024
_DIGESTS: dict[tuple[int, ...], str] = {}


class NotAttested(Exception):
    """The kernel does not tell enough about this process, or it is gone."""


class Socket(Protocol):
    """What asyncio shows of a connection's socket."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """See socket(2)."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process, for as long as it lives: pid and start time together never name another one before the next boot."""

    pid: int
    start_ticks: int
    uid: int
    gid: int
    path: str  # of the executable; ends in " (deleted)" once that file is gone, and then matches nothing
    sha256: str  # of the executable that runs, whatever stands at its path now
    argv: tuple[str, ...]

    @property
    def key(self) -> tuple[int, int]:
        """Pid and start time."""
        return self.pid, self.start_ticks


class Peer:
    """The process that made a connection, pinned at that moment.  `close` when the connection ends."""

    def __init__(self, sock: Socket) -> None:
        """Raises NotAttested."""
        self.pid, self.uid, self.gid = _PEERCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size))
        if self.pid <= 0:
            raise NotAttested("the process lives in another pid namespace")
        self._pidfd = _peer_pidfd(sock, self.pid)
        try:
            self._start_ticks = start_ticks(self.pid)
        except NotAttested:
            self.close()
            raise

    def process(self) -> Process:
        """Everything about it, read now.  Raises NotAttested.  Hashes a file that it has not seen: not for the event loop.

        1. It is the process that connected.  2. Read.  3. It still is, so what was read was read of it.
        """
        self._check_alive()  # 1
        path, digest = _executable(self.pid)  # 2
        found = Process(self.pid, self._start_ticks, self.uid, self.gid, path, digest, _argv(self.pid))
        self._check_alive()  # 3
        return found

    def pidfd(self) -> int:
        """A descriptor of its own for the process, the caller's to close; readable once the process has ended."""
        return os.dup(self._pidfd)

    def close(self) -> None:
        """Idempotent."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _check_alive(self) -> None:
        if self._pidfd < 0 or has_ended(self._pidfd) or start_ticks(self.pid) != self._start_ticks:
            raise NotAttested("the process that connected is gone")


def instance_of(process: Process, boot_id: str) -> str:
    """The instance id: renewing, reconnecting, a new key, even executing another program keep it."""
    name = f"{boot_id}\0{process.pid}\0{process.start_ticks}".encode()
    return "i" + base64.b32encode(hashlib.sha256(name).digest()).decode()[:26].lower()


def boot_id() -> str:
    """A new one at every boot; random(4)."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def has_ended(pidfd: int) -> bool:
    """Whether the process of this descriptor has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def start_ticks(pid: int) -> int:
    """When it started, in clock ticks since boot.  Raises NotAttested."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="surrogateescape")
        return int(stat.rpartition(")")[2].split()[_START_TIME])
    except (OSError, ValueError, IndexError):
        raise NotAttested("its start time cannot be read") from None


def _peer_pidfd(sock: Socket, pid: int) -> int:
    try:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, 4), "little", signed=True)
    except OSError:  # an older kernel: the moment between connecting and being accepted is not covered
        pass
    try:
        return os.pidfd_open(pid)
    except OSError:
        raise NotAttested("the process that connected is gone") from None


def _executable(pid: int) -> tuple[str, str]:
    link = _PROC / str(pid) / "exe"
    try:
        with link.open("rb") as file:
            return str(link.readlink()), _digest(file)
    except OSError:
        raise NotAttested("its executable cannot be read") from None


def _digest(file: BufferedReader) -> str:
    """Of the whole file, kept for as long as the inode is unchanged; `ctime` is what its owner cannot set."""
    stat = os.fstat(file.fileno())
    version = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if version not in _DIGESTS:
        if len(_DIGESTS) >= _MAX_DIGESTS:
            _DIGESTS.clear()
        _DIGESTS[version] = hashlib.file_digest(file, "sha256").hexdigest()
    return _DIGESTS[version]


def _argv(pid: int) -> tuple[str, ...]:
    try:
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        raise NotAttested("its arguments cannot be read") from None
    return tuple(os.fsdecode(word) for word in raw.removesuffix(b"\0").split(b"\0"))
