"""Group commit: who goes with whom, and what becomes of them when something goes wrong."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.records import FakeRecordStream
from workers.common.recorder import MAX_BATCH, MAX_BATCH_BYTES, MAX_SINGLES, TURNS, Recorder, RecordUnavailable


async def commit_all(recorder: Recorder, n: int, *, size: int = 1, first: int = 0) -> list[int]:
    return await asyncio.gather(*(recorder.record("weft.record.x.y.z", b"x" * size, f"id:{first + i}") for i in range(n)))


async def test_an_idle_recorder_waits_for_nobody() -> None:
    stream = FakeRecordStream()
    assert await Recorder(stream).record("weft.record.x.y.z", b"a", "id") == 1
    assert stream.calls == [("single", 1)]


@pytest.mark.parametrize(("n", "calls"), [(10, [("single", 1)] * 10), (11, [("batch", 11)])])
async def test_up_to_ten_go_singly_and_more_as_one_batch(n: int, calls: list[tuple[str, int]]) -> None:
    stream = FakeRecordStream()
    assert await commit_all(Recorder(stream), n) == list(range(1, n + 1))
    assert stream.calls == calls


async def test_what_arrives_during_a_commit_goes_together_after_it() -> None:
    stream = FakeRecordStream(gate=asyncio.Event())
    recorder = Recorder(stream)
    first = asyncio.create_task(recorder.record("weft.record.x.y.z", b"a", "first"))
    await asyncio.sleep(0)
    later = asyncio.create_task(commit_all(recorder, 40))
    await asyncio.sleep(0.01)
    assert stream.calls == [("single", 1)]
    stream.gate.set()
    assert await first == 1
    assert await later == list(range(2, 42))
    assert stream.calls == [("single", 1), ("batch", 40)]


@pytest.mark.parametrize(
    ("n", "calls"),
    [
        (11, [("batch", 12)]),  # which is on its way goes with the batch
        (10, [("single", 1)] * 11),  # what goes singly waits for nothing
    ],
)
async def test_a_batch_takes_along_what_is_a_few_turns_away(n: int, calls: list[tuple[str, int]]) -> None:
    stream = FakeRecordStream()
    recorder = Recorder(stream)

    async def later() -> int:
        for _ in range(TURNS - 1):
            await asyncio.sleep(0)
        if n <= MAX_SINGLES:
            assert stream.calls == [("single", 1)] * n
        return await recorder.record("weft.record.x.y.z", b"a", "later")

    assert await asyncio.gather(commit_all(recorder, n), later()) == [list(range(1, n + 1)), n + 1]
    assert stream.calls == calls


async def test_closing_while_a_batch_takes_company_loses_nobody() -> None:
    stream = FakeRecordStream()
    recorder = Recorder(stream)
    waiting = asyncio.ensure_future(commit_all(recorder, 20))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert stream.calls == []
    await recorder.close()
    assert await waiting == list(range(1, 21))


async def test_batches_keep_the_limits_of_number_and_bytes() -> None:
    stream = FakeRecordStream()
    await commit_all(Recorder(stream), MAX_BATCH + 50)
    assert stream.calls == [("batch", MAX_BATCH), ("batch", 50)]
    stream = FakeRecordStream()
    await commit_all(Recorder(stream), 30, size=MAX_BATCH_BYTES // 15)
    assert max(n for _, n in stream.calls) <= 15
    assert len(stream.messages) == 30


async def test_one_known_id_does_not_take_its_batch_with_it() -> None:
    stream = FakeRecordStream()
    recorder = Recorder(stream)
    await recorder.record("weft.record.x.y.z", b"a", "id:3")
    outcomes = await asyncio.gather(*(recorder.commit("weft.record.x.y.z", b"b", f"id:{i}") for i in range(20)))
    assert [i for i, outcome in enumerate(outcomes) if outcome.duplicate] == [3]
    assert outcomes[3].seq == 1
    assert len(stream.messages) == 20


async def test_a_batch_whose_acknowledgement_was_lost_is_found_again() -> None:
    stream = FakeRecordStream(lost=1)
    recorder = Recorder(stream)
    again = await asyncio.gather(*(recorder.commit("weft.record.x.y.z", b"b", f"id:{i}") for i in range(20)))
    assert [outcome.seq for outcome in again] == list(range(1, 21))
    assert all(outcome.duplicate for outcome in again)
    assert len(stream.messages) == 20


async def test_a_full_stream_refuses_and_takes_again_when_there_is_room() -> None:
    stream = FakeRecordStream(full=True)
    recorder = Recorder(stream)
    for n in (1, 20):
        outcomes = await asyncio.gather(*(recorder.commit("weft.record.x.y.z", b"b", f"id:{i}") for i in range(n)), return_exceptions=True)
        assert all(isinstance(outcome, RecordUnavailable) for outcome in outcomes)
    stream.full = False
    assert await recorder.record("weft.record.x.y.z", b"a", "id:0") == 1


async def test_nobody_waits_longer_than_the_deadline() -> None:
    """INVARIANT: without an acknowledgement there is no sequence, and the refusal comes within twice the deadline.

    Broken by returning before the acknowledgement, or by a wait without an end.
    """
    recorder = Recorder(FakeRecordStream(gate=asyncio.Event()), deadline_s=0.05)
    started = asyncio.get_running_loop().time()
    outcomes = await asyncio.gather(*(recorder.commit("weft.record.x.y.z", b"b", f"id:{i}") for i in range(30)), return_exceptions=True)
    assert all(isinstance(outcome, RecordUnavailable) for outcome in outcomes)
    assert asyncio.get_running_loop().time() - started < 0.5


async def test_who_gave_up_before_its_turn_is_not_published() -> None:
    stream = FakeRecordStream(gate=asyncio.Event())
    recorder = Recorder(stream)
    first = asyncio.create_task(recorder.record("weft.record.x.y.z", b"a", "first"))
    await asyncio.sleep(0)
    second = asyncio.create_task(recorder.record("weft.record.x.y.z", b"b", "second"))
    await asyncio.sleep(0)
    second.cancel()
    stream.gate.set()
    await asyncio.gather(first, second, return_exceptions=True)
    await recorder.close()
    assert stream.messages == [("weft.record.x.y.z", b"a")]


async def test_closing_commits_what_is_pending_and_takes_no_more() -> None:
    stream = FakeRecordStream()
    recorder = Recorder(stream)
    pending = [asyncio.create_task(recorder.record("weft.record.x.y.z", b"a", f"id:{i}")) for i in range(3)]
    await asyncio.sleep(0)
    await recorder.close()
    assert sorted(await asyncio.gather(*pending)) == [1, 2, 3]
    with pytest.raises(RecordUnavailable):
        await recorder.record("weft.record.x.y.z", b"a", "late")


async def test_closing_does_not_wait_for_a_stream_that_is_silent() -> None:
    recorder = Recorder(FakeRecordStream(gate=asyncio.Event()), deadline_s=0.05)
    waiting = asyncio.create_task(recorder.commit("weft.record.x.y.z", b"a", "id"))
    await asyncio.sleep(0)
    await recorder.close()
    with pytest.raises(RecordUnavailable):
        await waiting
