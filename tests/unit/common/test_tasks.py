import asyncio

import pytest

from workers.common.tasks import Tasks


class Told(list):
    def __call__(self, name, error):
        self.append((name, type(error)))


async def test_a_failure_is_told_and_never_lost():
    told = Told()
    tasks = Tasks(told)

    async def fail():
        raise ValueError

    await asyncio.wait({tasks.start(fail(), name="doomed")})
    await asyncio.sleep(0)
    assert told == [("doomed", ValueError)]
    assert len(tasks) == 0


async def test_closing_waits_for_what_may_finish_and_cancels_the_rest():
    told, done = Told(), []

    async def work(seconds):
        try:
            await asyncio.sleep(seconds)
            done.append(seconds)
        except asyncio.CancelledError:
            done.append("cancelled")
            raise

    tasks = Tasks(told)
    tasks.start(work(0.05), name="short")
    tasks.start(work(60), name="long")
    await tasks.close(grace_s=0.3)
    assert done == [0.05, "cancelled"]
    assert told == []
    with pytest.raises(RuntimeError):
        tasks.start(work(1), name="late")


async def test_a_cancellation_that_is_lost_is_repeated():
    """A task group of Python 3.11 that fails while it is cancelled raises its failure alone."""
    cancelled = []

    async def stubborn():
        while len(cancelled) < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(True)

    tasks = Tasks(Told())
    tasks.start(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    await asyncio.wait_for(tasks.close(), 5)
    assert len(cancelled) == 2
