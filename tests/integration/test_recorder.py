"""One behaviour of the recorder, over the fake that its unit tests use and over RECORD on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streams.bus import Publisher
from tests.support import fabric
from tests.support.records import FakeRecordStream
from workers.common.recorder import Recorder, RecordUnavailable

SUBJECT = "weft.record.broker.issued.88mph~com.agents.advisor"


@pytest.fixture(params=["fake", "real"])
async def recorder(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[Recorder]:
    if request.param == "fake":
        yield Recorder(FakeRecordStream())
        return
    running = await fabric.start(tmp_path / "state")
    try:
        yield Recorder(Publisher(await running.worker("broker")))
    finally:
        await running.close()


async def committed(recorder: Recorder, ids: list[str]) -> list[Any]:
    return await asyncio.gather(*(recorder.commit(SUBJECT, f'{{"id":"{i}"}}'.encode(), i) for i in ids))


async def test_sequences_are_told_to_whom_they_belong(recorder: Recorder) -> None:
    for n in (1, 5, 10, 11, 200):
        outcomes = await committed(recorder, [f"{n}:{i}" for i in range(n)])
        seqs = sorted(outcome.seq for outcome in outcomes)
        assert seqs == list(range(seqs[0], seqs[0] + n))
        assert not any(outcome.duplicate for outcome in outcomes)


async def test_a_repeated_id_is_the_first_one_alone_or_among_others(recorder: Recorder) -> None:
    (first,) = await committed(recorder, ["one"])
    (again,) = await committed(recorder, ["one"])
    among = await committed(recorder, [f"two:{i}" for i in range(15)] + ["one"])
    assert (again.seq, again.duplicate) == (first.seq, True)
    assert (among[-1].seq, among[-1].duplicate) == (first.seq, True)
    assert not any(outcome.duplicate for outcome in among[:-1])
    assert len({outcome.seq for outcome in among}) == 16


@pytest.mark.parametrize("n", [1, 30])
async def test_a_full_record_refuses(tmp_path: Any, n: int) -> None:
    """INVARIANT: nothing is committed that RECORD did not take, and what it does not take is refused, not waited for.

    Broken by ignoring the stream's error, or by retrying it without an end.
    """
    running = await fabric.start(tmp_path / "state", record_max_bytes=1_048_576)
    try:
        recorder = Recorder(Publisher(await running.worker("broker")))
        body = b'"' + b"x" * 150_000 + b'"'
        filling = [await asyncio.gather(recorder.record(SUBJECT, body, f"fill:{i}"), return_exceptions=True) for i in range(10)]
        assert isinstance(filling[0][0], int)
        assert isinstance(filling[-1][0], RecordUnavailable)
        outcomes = await asyncio.gather(*(recorder.commit(SUBJECT, body, f"more:{i}") for i in range(n)), return_exceptions=True)
        assert all(isinstance(outcome, RecordUnavailable) for outcome in outcomes)
    finally:
        await running.close()
