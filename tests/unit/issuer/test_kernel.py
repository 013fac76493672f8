"""What the kernel says of a peer: on real sockets and real processes."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.issuer import kernel
from workers.issuer.kernel import NotAttested, Peer, boot_id, instance_of


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection within this process."""
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def connected_child(tmp_path: Path, program: str = sys.executable) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A process that has connected to us and waits on its stdin."""
    path = str(tmp_path / "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    code = f"import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect({path!r}); sys.stdin.read()"
    child = subprocess.Popen([program, "-c", code], stdin=subprocess.PIPE)
    connection, _ = listener.accept()
    listener.close()
    return child, connection


def test_this_process(ends: tuple[socket.socket, socket.socket]) -> None:
    peer = Peer(ends[0])
    process = peer.process()
    assert (process.pid, process.uid, process.gid) == (os.getpid(), os.getuid(), os.getgid())
    assert process.path == os.path.realpath(sys.executable)
    assert process.sha256 == hashlib.sha256(Path(process.path).read_bytes()).hexdigest()
    assert process.argv[0] == Path("/proc/self/cmdline").read_bytes().split(b"\0")[0].decode()
    peer.close()
    peer.close()


def test_another_process(tmp_path: Path) -> None:
    child, connection = connected_child(tmp_path)
    with connection:
        peer = Peer(connection)
        assert peer.process().pid == child.pid
        child.communicate()
        with pytest.raises(NotAttested):
            peer.process()
        peer.close()


def test_a_connection_that_outlives_its_maker_is_nobodys(tmp_path: Path) -> None:
    """INVARIANT: whoever holds the connection of a process that has ended is not attested.

    Trusting the pid of SO_PEERCRED alone would give the connection's heir the identity of whoever has that pid by then.
    """
    child, connection = connected_child(tmp_path)
    with connection:
        child.communicate()
        with pytest.raises(NotAttested):
            Peer(connection)


def test_a_pid_that_is_used_again_is_somebody_else(monkeypatch: pytest.MonkeyPatch, ends: tuple[socket.socket, socket.socket]) -> None:
    """INVARIANT: the start time is compared before and after reading.

    On a kernel that hands out no pidfd with the connection it is the start time that tells a successor with the same pid.
    """
    peer = Peer(ends[0])
    times = iter([peer._start_ticks, peer._start_ticks + 1])
    monkeypatch.setattr(kernel, "start_ticks", lambda _: next(times))
    with pytest.raises(NotAttested):
        peer.process()
    peer.close()


class OldKernel:
    """A socket without SO_PEERPIDFD."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def getsockopt(self, _level: int, option: int, _size: int, /) -> bytes:
        if option == socket.SO_PEERCRED:
            return struct.pack("3i", self._pid, os.getuid(), os.getgid())
        raise OSError


def test_an_older_kernel() -> None:
    peer = Peer(OldKernel(os.getpid()))
    assert peer.process().pid == os.getpid()
    peer.close()


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1])
def test_no_such_process(pid: int) -> None:
    with pytest.raises(NotAttested):
        Peer(OldKernel(pid))


def test_an_executable_replaced_under_way(tmp_path: Path) -> None:
    """INVARIANT: the digest is of the program that runs, not of the file that stands at its path now.

    Hashing the path would attest a program as the good one that was copied over it afterwards.
    """
    program = tmp_path / "python"
    shutil.copy(os.path.realpath(sys.executable), program)
    with program.open("ab") as file:
        file.write(b"one")
    mine = hashlib.sha256(program.read_bytes()).hexdigest()
    child, connection = connected_child(tmp_path, str(program))
    with connection:
        peer = Peer(connection)
        program.unlink()
        program.write_bytes(b"another program")
        process = peer.process()
        assert process.sha256 == mine
        assert process.path.endswith(" (deleted)")
        peer.close()
        child.communicate()


def test_the_instance_is_the_process(ends: tuple[socket.socket, socket.socket]) -> None:
    peer = Peer(ends[0])
    process = peer.process()
    peer.close()
    first = instance_of(process, boot_id())
    assert first == instance_of(process, boot_id())
    assert len(first) == 27
    assert set(first) <= set("abcdefghijklmnopqrstuvwxyz234567")
    assert first[0] == "i"
    assert first != instance_of(process, "another boot")
