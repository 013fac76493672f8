"""Who writes: what a copy does about beacons it hears, does not hear, and finds on the stream."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest

from schemas.revocation import Beacon
from workers.revocation import role as role_module
from workers.revocation.ledger import Head, Stored
from workers.revocation.ports import Fenced
from workers.revocation.role import Role

SILENCE_S = 0.1


class Clock:
    def now(self) -> float:
        return 1_000.0


class Stream:
    """What is read of it; each read is counted."""

    def __init__(self, beacon: Beacon | None = None) -> None:
        self.beacon = beacon
        self.reads = 0

    async def read(self) -> Stored:
        self.reads += 1
        return Stored(last_seq=9 if self.beacon else 0, last_beacon=self.beacon)


class Writer:
    """Takes over, writes until deposed; `fenced` refuses its first beacon."""

    def __init__(self, head: Head, *, fenced: bool = False) -> None:
        self.head = Head(epoch=head.seq + 1)
        self._fenced = fenced
        self.over = asyncio.Event()

    async def take_over(self) -> None:
        if self._fenced:
            raise Fenced

    async def run(self) -> None:
        await self.over.wait()
        raise Fenced

    def depose(self) -> None:
        self.over.set()


def beacon(at: float, epoch: int = 1) -> Beacon:
    return Beacon(n=0, head="A" * 43, epoch=epoch, at=at, facts=0, floor=1)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(role_module, "SILENCE_S", SILENCE_S)
    monkeypatch.setattr(role_module, "JITTER_MS", 1)


class Copy:
    """A role, running."""

    def __init__(self, stream: Any, *, fenced: bool = False, duties: tuple[Any, ...] = ()) -> None:
        self.made: list[Writer] = []

        def writer_at(head: Head) -> Any:
            self.made.append(Writer(head, fenced=fenced and not self.made))
            return self.made[-1]

        self.role = Role(stream, writer_at, duties, Clock())

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.role.run())
        await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.role.resign()
        async with asyncio.timeout(2):
            await self.task


async def test_a_fabric_that_starts_has_a_writer_at_once() -> None:
    async with Copy(Stream()) as copy:
        assert copy.role.writer is not None


async def test_a_fresh_beacon_on_the_stream_is_a_writer_somewhere() -> None:
    async with Copy(Stream(beacon(1_000.0))) as copy:
        assert copy.made == []
        await asyncio.sleep(SILENCE_S + 0.1)
        assert copy.role.writer is not None


async def test_an_old_beacon_is_not_waited_for_again() -> None:
    async with Copy(Stream(beacon(900.0))) as copy:
        assert copy.role.writer is not None


async def test_while_beacons_are_heard_nobody_else_writes() -> None:
    async with Copy(Stream(beacon(1_000.0))) as copy:
        for tick in range(6):
            copy.role.beacon_heard(beacon(1_000.0 + tick))
            await asyncio.sleep(SILENCE_S / 2)
        assert copy.made == []


async def test_a_copy_that_hears_nothing_looks_before_it_takes_over() -> None:
    """A deaf copy finds the beacons it missed on the stream, and does not fight whoever wrote them."""
    stream = Stream(beacon(1_000.0))
    async with Copy(stream) as copy:
        for tick in range(1, 6):
            stream.beacon = beacon(1_000.0 + tick)
            await asyncio.sleep(SILENCE_S / 2)
        assert copy.made == []
        assert stream.reads >= 2


async def test_whoever_comes_second_waits() -> None:
    async with Copy(Stream(), fenced=True) as copy:
        assert len(copy.made) == 1
        assert copy.role.writer is None
        await asyncio.sleep(SILENCE_S + 0.1)
        assert len(copy.made) == 2


async def test_a_later_writer_heard_of_ends_this_one() -> None:
    async with Copy(Stream()) as copy:
        copy.role.beacon_heard(beacon(1_001.0, epoch=99))
        await asyncio.sleep(0.02)
        assert copy.role.writer is None
        assert copy.made[0].over.is_set()


async def test_a_writer_ends_with_any_of_its_duties() -> None:
    """INVARIANT: no copy goes on writing when a duty of the writer has ended.

    Broken by leaving it to the cancellation of the others: where one is swallowed, a copy would send beacons and do nothing else.
    """

    async def ends(_: Any) -> None:
        raise Fenced

    async with Copy(Stream(), duties=(ends,)) as copy:
        assert copy.role.writer is None
        assert copy.made[0].over.is_set()


async def test_a_copy_that_resigned_never_writes_again() -> None:
    async with Copy(Stream()) as copy:
        copy.role.resign()
        await asyncio.sleep(SILENCE_S + 0.1)
        assert copy.task.done()
