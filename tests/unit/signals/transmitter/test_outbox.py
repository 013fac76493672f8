"""What becomes of SETs, without a bus: who is told, what is kept, what is stopped."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.events import caep, ssf
from schemas.facts import EventStream, PollDelivery, PushDelivery
from schemas.fetching import Fetched
from schemas.ssf import Dead, Queued
from schemas.subject_ids import parse_subject
from workers.common.recorder import RecordUnavailable
from workers.signals.transmitter.configuration import Transmitter
from workers.signals.transmitter.outbox import COUNT_EVERY, Outbox
from workers.signals.transmitter.ports import Held, Unavailable
from workers.signals.transmitter.push import Delivered, GivenUp, Retry
from workers.signals.transmitter.sealing import Sealer
from workers.signals.transmitter.sets import Happening, verification

ROOT = "spiffe://88mph.com"
ANN = parse_subject({"format": "email", "email": "ann@example.com"})
SEALER = Sealer(b"k" * 32)


class World:
    """Streams, queue, clients, keys, HTTP and RECORD, each as small as it may be."""

    def __init__(self, *streams: EventStream, most: int = 3) -> None:
        self.streams = {stream.stream_id: stream for stream in streams}
        self.queued: list[tuple[Queued, bool]] = []
        self.letters: list[Dead] = []
        self.told: list[Any] = []
        self.answer: Fetched | None = Fetched(status=202)
        self.recording = True
        self.outbox = Outbox(
            Transmitter("https://tx.example"), self, self,
            authorizer=self, signs=self, fetches=self, sealer=SEALER, recording=self, clock=self, root=ROOT, most_waiting=most,
        )  # type: ignore[arg-type]  # fmt: skip

    def now(self) -> float:
        return 1_800_000_000.0

    def sign(self, alg: str, claims: Any) -> str:
        return f"{alg}.{claims['jti']}.x"

    def hears(self, client_id: str) -> tuple[str, ...] | None:
        return None if client_id == "gone" else (ROOT,)

    async def fetch(self, asked: Any) -> Any:
        self.asked = asked
        return self.answer

    async def transmitted(self, told: Any) -> None:
        if not self.recording:
            raise RecordUnavailable("no")
        self.told.append((told.outcome, told.err))

    def all(self) -> tuple[EventStream, ...]:
        return tuple(self.streams.values())

    async def read(self, stream_id: str) -> Held:
        return Held(self.streams.get(stream_id), 7)

    async def write(self, stream_id: str, stream: Any, revision: int, *, by: str, reason: str) -> None:
        assert (revision, by) == (7, "signals")
        self.streams[stream_id] = stream

    async def put(self, queued: Queued, *, notice: bool = False) -> None:
        self.queued.append((queued, notice))

    async def size(self, stream_id: str) -> int:
        return sum(queued.stream_id == stream_id for queued, _ in self.queued)

    async def drop(self, stream_id: str) -> None:
        self.queued = [(queued, notice) for queued, notice in self.queued if notice or queued.stream_id != stream_id]

    async def bury(self, dead: Dead) -> None:
        self.letters.append(dead)


def stream(stream_id: str, *, push: bool = False, **members: Any) -> EventStream:
    sealed = SEALER.seal(stream_id, "Bearer s")
    delivery = PushDelivery(endpoint_url="https://rx.example/", authorization=sealed) if push else PollDelivery()
    return EventStream(**{"stream_id": stream_id, "client_id": "c", "aud": "c", "delivery": delivery, "created_at": 1, **members})


def happening(number: int = 0) -> Happening:
    return Happening(caep.SessionRevoked(), ANN, f"cause {number}")


async def test_each_stream_that_wants_it_is_told_once() -> None:
    world = World(stream("a"), stream("b", status="disabled"), stream("c", client_id="gone"), stream("d", status="paused"))
    assert [made.stream_id for made in await world.outbox.tell([happening()])] == ["a", "d"]
    assert [made.stream_id for made in await world.outbox.tell([happening()], only="d")] == ["d"]


async def test_a_queue_that_nobody_empties_is_stopped_and_its_receiver_told() -> None:
    """INVARIANT: one receiver that never comes cannot fill what all queues share.

    Queueing without counting would break it: OUTGOING is one stream with one limit, and a full one takes nobody's events.
    """
    world = World(stream("full"), stream("other"), most=3 * COUNT_EVERY)
    for number in range(5 * COUNT_EVERY):
        await world.outbox.tell([happening(number)])
    stopped = world.streams["full"]
    assert (stopped.status, stopped.status_reason) == ("disabled", f"more than {3 * COUNT_EVERY} events wait for their receiver")
    (notice,) = [queued for queued, _ in world.queued if queued.stream_id == "full"]
    assert notice.event == ssf.StreamUpdated.URI


@pytest.mark.parametrize(
    ("answer", "verdict", "told"),
    [
        (Fetched(status=202), Delivered, [("delivered", None)]),
        (Fetched(status=400, body='{"err": "invalid_key"}'), GivenUp, [("refused", "invalid_key")]),
        (Fetched(status=503), Retry, []),
    ],
)
async def test_an_attempt_ends_on_record(answer: Fetched, verdict: type, told: list[Any]) -> None:
    world = World(stream("a", push=True))
    world.answer = answer
    (made,) = await world.outbox.tell([happening()])
    assert isinstance(await world.outbox.attempt(made, 1, 0.0), verdict)
    assert world.told == told
    assert [letter.queued for letter in world.letters] == ([made] if verdict is GivenUp else [])
    assert dict(world.asked.headers)["Authorization"] == "Bearer s"


async def test_a_refused_verification_is_no_dead_letter() -> None:
    """INVARIANT: what a receiver can ask for at will it cannot have kept by refusing it.

    Broken by burying everything that is refused: one receiver fills OUTGOING with its own verifications, and nobody is told anything.
    """
    world = World(stream("a", push=True))
    world.answer = Fetched(status=400, body='{"err": "invalid_key"}')
    made = await world.outbox.put(verification(world.streams["a"], "x" * 1024, "cause"), world.streams["a"])
    assert isinstance(await world.outbox.attempt(made, 1, 0.0), GivenUp)
    assert world.told == [("refused", "invalid_key")]
    assert world.letters == []


async def test_without_a_record_nothing_was_delivered() -> None:
    """INVARIANT: a SET leaves its queue after what became of it is on RECORD.

    Acknowledging it first would break it: a crash in between leaves no trace of what a receiver was told.
    """
    world = World(stream("a", push=True))
    (made,) = await world.outbox.tell([happening()])
    world.recording = False
    with pytest.raises(Unavailable):
        await world.outbox.attempt(made, 1, 0.0)


@pytest.mark.parametrize("changed", [{"status": "paused"}, {"status": "disabled"}, {"client_id": "gone"}, {"delivery": PollDelivery()}])
async def test_what_must_not_be_sent_is_not_tried(changed: dict[str, Any]) -> None:
    world = World(stream("a", push=True))
    (made,) = await world.outbox.tell([happening()])
    world.streams["a"] = world.streams["a"].model_copy(update=changed)
    assert isinstance(await world.outbox.attempt(made, 1, 0.0), Retry)
    assert not hasattr(world, "asked")
    del world.streams["a"]
    assert isinstance(await world.outbox.attempt(made, 1, 0.0), Retry)


async def test_a_credential_sealed_under_another_key_waits_for_somebody_to_put_it_back() -> None:
    world = World(stream("a", push=True))
    (made,) = await world.outbox.tell([happening()])
    world.outbox._sealer = Sealer(b"x" * 32)
    assert isinstance(await world.outbox.attempt(made, 1, 0.0), Retry)
    assert not hasattr(world, "asked"), "nothing is sent without the credential that it needs"


@pytest.mark.parametrize(("status", "waits"), [(202, 0), (503, 1)])
async def test_a_push_is_announced_at_once_and_waits_where_that_failed(status: int, waits: int) -> None:
    world = World(stream("a", push=True))
    world.answer = Fetched(status=status)
    await world.outbox.announce(world.streams["a"].model_copy(update={"status": "paused"}), "paused", "cause")
    assert len(world.queued) == waits
    assert [notice for _, notice in world.queued] == [True] * waits
