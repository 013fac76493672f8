"""RECORD alarms before it is full: what refuses at 100 % is said at 80 %."""

import pytest
from structlog.testing import capture_logs

from streams.bus import Publisher
from tests.support.fabric import start
from workers.audit.room import ALARM_AT, Room
from workers.common import log


@pytest.fixture
async def small(tmp_path):
    server = await start(tmp_path / "state", record_max_bytes=1_048_576)
    yield server
    await server.close()


async def test_the_alarm_is_said_once_when_the_mark_is_passed(small):
    """INVARIANT: who operates a fabric hears that RECORD fills up while it still takes what is granted.

    Hearing it from the first refusal would be too late: by then nothing is granted.
    """
    publisher, room = Publisher(await small.worker("gateway")), Room(await small.worker("audit"))
    alarms = []
    for n in range(10):
        with capture_logs() as logs:
            await room.look()
        alarms += [(round(room.full, 1) >= ALARM_AT, n) for entry in logs if entry["event"] == log.RECORD_FILLING]
        await publisher.publish("RECORD", "weft.record.gateway.x", bytes(100_000), msg_id=f"gateway:{n}")
    assert [passed for passed, _ in alarms] == [True]
    assert alarms[0][1] <= 9, "and the message after it was still taken"


async def test_a_stream_that_does_not_answer_leaves_what_was_known(small):
    nc = await small.worker("audit")
    room = Room(nc)
    await room.look()
    known = room.full
    await nc.close()
    await room.look()
    assert room.full == known
