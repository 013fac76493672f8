"""How SETs get to their receivers: retried, given up, sent again, in order, across restarts; and what nobody else ever sees."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from schemas.events import CAEP, SSF
from streams.bus import Publisher
from tests.support.receiving import POLL, PUSH, RECEIVER, Sink, Stage, clients, stage
from workers.signals.transmitter.queue import OutgoingQueue

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET = "Bearer a-credential-that-only-its-receiver-and-signals-know"
ANN = {"format": "email", "email": "ann@example.com"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ssf(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("delivery")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def sink() -> AsyncIterator[Sink]:
    async with Sink().open() as opened:
        yield opened


async def pushed_stream(ssf: Stage, sink: Sink, **members: Any) -> dict[str, Any]:
    delivery = {"method": PUSH, "endpoint_url": sink.url, "authorization_header": SECRET}
    return await ssf.create(delivery, events_requested=[f"{CAEP}session-revoked"], **members)


async def emit(ssf: Stage, stream: dict[str, Any], reason: str = "r") -> str:
    asked = {"what": "emit", "event": f"{CAEP}session-revoked", "subject": ANN, "stream_id": stream["stream_id"], "reason": reason}
    (row,) = (await ssf.command(**asked))["rows"]
    jti: str = row["jti"]
    return jti


async def dead(ssf: Stage, stream: dict[str, Any], count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while len(rows := (await ssf.command(what="dead", stream_id=stream["stream_id"]))["rows"]) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    found: list[dict[str, Any]] = rows
    return found


async def test_a_fault_of_the_receivers_is_waited_out(ssf: Stage, sink: Sink) -> None:
    answers = [(503, {}, b""), (500, {}, b"oops"), (202, {}, b"")]
    sink.answer = lambda _: answers.pop(0)
    stream = await pushed_stream(ssf, sink)
    await emit(ssf, stream)
    bodies = [(await sink.next()).body for _ in range(3)]
    assert len(set(bodies)) == 1, "the same SET each time"
    await sink.nothing(0.5)
    await ssf.delete(stream)


async def test_what_a_receiver_says_no_to_is_kept_and_not_repeated(ssf: Stage, sink: Sink) -> None:
    refusal = json.dumps({"err": "invalid_key", "description": f"{SECRET} is what I got"}).encode()
    sink.answer = lambda _: (400, {"content-type": "application/json"}, refusal)
    stream = await pushed_stream(ssf, sink)
    first = await emit(ssf, stream)
    refused = await sink.next()
    (letter,) = await dead(ssf, stream, 1)
    assert (letter["jti"], letter["err"]) == (first, "invalid_key")
    assert SECRET not in json.dumps(letter)
    await sink.nothing(0.5)
    sink.answer = lambda _: (202, {}, b"")
    await ssf.command(what="resend", jti=first)
    assert (await sink.next()).body == refused.body
    await dead(ssf, stream, 0)
    assert (await ssf.command(what="resend", jti=first))["failed"]
    await ssf.delete(stream)


@pytest.mark.parametrize("status", [301, 401, 404])
async def test_other_refusals_are_named_by_their_status(ssf: Stage, sink: Sink, status: int) -> None:
    sink.answer = lambda _: (status, {"location": sink.url}, b"")
    stream = await pushed_stream(ssf, sink)
    await emit(ssf, stream)
    await sink.next()
    (letter,) = await dead(ssf, stream, 1)
    assert letter["err"] == f"http_{status}"
    await sink.nothing(0.3)
    await ssf.delete(stream)
    await dead(ssf, stream, 0)  # they go with their stream


async def test_a_queue_survives_the_worker(ssf: Stage, sink: Sink) -> None:
    """INVARIANT: what happened while its receiver, or we, were away is delivered when both are back, once each and in order.

    Queues in memory would break it, and so would acknowledging a SET to the queue before its receiver has it.
    """
    up = asyncio.Event()
    sink.answer = lambda _: (202, {}, b"") if up.is_set() else (503, {}, b"")
    stream, polled = await pushed_stream(ssf, sink), await ssf.create({"method": POLL}, events_requested=[f"{CAEP}session-revoked"])
    sent = [await emit(ssf, stream, f"{n}") for n in range(3)]
    held = [await emit(ssf, polled, f"{n}") for n in range(3)]
    await sink.next()  # refused with 503
    await ssf.stop_signals()
    while not sink.got.empty():
        sink.got.get_nowait()
    up.set()
    await ssf.start_signals()
    await ssf.start_signals()  # two copies of one worker, and still each SET once
    got = [(await ssf.decode(stream, (await sink.next(40)).body))["jti"] for _ in sent]
    assert got == sent
    await sink.nothing(0.5)
    assert list((await ssf.poll(polled)).json()["sets"]) == held
    assert list((await ssf.poll(polled, ack=held[:2], maxEvents=5)).json()["sets"]) == held[2:]
    for one in (stream, polled):
        await ssf.delete(one)


async def test_what_waits_is_counted(ssf: Stage) -> None:
    """What the limit of a queue is measured with: a stream that is polled has a consumer for this alone."""
    stream = await ssf.create({"method": POLL}, events_requested=[f"{CAEP}session-revoked"])
    nc = await ssf.server.worker("signals")
    queue = OutgoingQueue(nc, Publisher(nc))
    assert await queue.size(stream["stream_id"]) == 0
    sent = [await emit(ssf, stream, f"{n}") for n in range(3)]
    assert await queue.size(stream["stream_id"]) == 3
    await ssf.poll(stream, ack=sent[:2], maxEvents=0)
    assert await queue.size(stream["stream_id"]) == 1
    await ssf.delete(stream)
    await nc.close()


async def test_a_receiver_is_told_before_we_stop(ssf: Stage, sink: Sink) -> None:
    """SSF 1.0 section 8.1.5: stream-updated comes first, whatever the delivery, and the stream is quiet after it."""
    stream, polled = await pushed_stream(ssf, sink), await ssf.create({"method": POLL})
    for one in (stream, polled):
        asked = {"what": "status", "stream_id": one["stream_id"], "status": "paused", "reason": "maintenance"}
        assert not (await ssf.command(**asked))["failed"]
        await emit(ssf, one)
    claims = await ssf.decode(stream, (await sink.next()).body)
    assert claims["events"] == {f"{SSF}stream-updated": {"status": "paused", "reason": "maintenance"}}
    assert claims["sub_id"] == {"format": "opaque", "id": stream["stream_id"]}
    await sink.nothing(0.5)
    ((jti, compact),) = (await ssf.poll(polled)).json()["sets"].items()
    assert f"{SSF}stream-updated" in (await ssf.decode(polled, compact))["events"]
    assert (await ssf.poll(polled, ack=[jti])).json()["sets"] == {}
    status = await ssf.ask("GET", ssf.metadata["status_endpoint"], params={"stream_id": stream["stream_id"]})
    assert status.json() == {"stream_id": stream["stream_id"], "status": "paused", "reason": "maintenance"}

    await ssf.command(what="status", stream_id=stream["stream_id"], status="enabled", reason="over")
    events = {next(iter((await ssf.decode(stream, (await sink.next()).body))["events"])) for _ in range(2)}
    assert events == {f"{SSF}stream-updated", f"{CAEP}session-revoked"}
    for one in (stream, polled):
        await ssf.delete(one)


async def test_a_client_that_is_none_any_more_is_told_nothing(ssf: Stage, sink: Sink) -> None:
    """INVARIANT: nothing leaves on the streams of a client that was suspended, and its tokens open nothing.

    Looking at the client only when a stream is made would break it.
    """
    stream = await pushed_stream(ssf, sink)
    token = ssf.token()
    receiver = next(client for client in clients() if client.client_id == RECEIVER)
    suspended = await ssf.server.put_facts(receiver.model_copy(update={"state": "suspended"}))
    await ssf.server_has(suspended.seq)
    assert (await ssf.ask("GET", ssf.metadata["configuration_endpoint"], token)).status_code == 401
    sent = await ssf.command(what="emit", event=f"{CAEP}session-revoked", subject=ANN)
    assert sent["rows"] == []
    await sink.nothing(0.5)
    back = await ssf.server.put_facts(receiver)
    await ssf.server_has(back.seq)
    await emit(ssf, stream)
    await sink.next()
    await ssf.delete(stream)


async def test_a_receivers_credential_is_nowhere_in_clear(ssf: Stage, sink: Sink, capfd: pytest.CaptureFixture[str]) -> None:
    """INVARIANT: what a receiver gave us to authenticate with leaves us in one place, the request to that receiver.

    Storing the stream as it was asked for would break it, since FACTS keeps everything for ever; so would a log line of a failed push.
    """
    sink.answer = lambda pushed: (400, {}, json.dumps({"err": "x" * 500, "description": pushed.headers["authorization"]}).encode())
    stream = await pushed_stream(ssf, sink)
    await emit(ssf, stream)
    assert (await sink.next()).headers["authorization"] == SECRET
    await dead(ssf, stream, 1)
    listed = await ssf.command(what="list")
    assert SECRET not in json.dumps(listed)
    read = await ssf.ask("GET", ssf.metadata["configuration_endpoint"], ssf.token("ssf.read"), params={"stream_id": stream["stream_id"]})
    assert "authorization_header" not in read.json()["delivery"]
    for name in ("FACTS", "RECORD", "OUTGOING", "SIGNALS"):
        assert not any(SECRET.encode() in body for body in await ssf.messages(name)), name
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err
    await ssf.delete(stream)


async def test_an_endpoint_that_only_we_could_reach_is_refused_when_it_is_named(ssf: Stage) -> None:
    for url in ("https://10.0.0.1/", "http://receiver.example/", "https://169.254.169.254/", "https://u:p@receiver.example/", "ftp://a"):
        delivery = {"method": PUSH, "endpoint_url": url}
        answer = await ssf.ask("POST", ssf.metadata["configuration_endpoint"], json={"delivery": delivery})
        assert answer.status_code == 400, url
    header = {"method": PUSH, "endpoint_url": "https://receiver.example/", "authorization_header": "a\r\nHost: b"}
    assert (await ssf.ask("POST", ssf.metadata["configuration_endpoint"], json={"delivery": header})).status_code == 400


async def test_only_a_revoker_of_the_trust_domain_makes_us_speak(ssf: Stage) -> None:
    from weft.nkey import KeyPair

    from schemas.facts import Grant, Person
    from schemas.ssf import STREAMS, StreamsCommand
    from streams import subjects
    from streams.bus import event

    clerk = KeyPair("U")
    grants = (Grant(role="revoker", namespace="spiffe://88mph.com/agents"), Grant(role="registrar", namespace="spiffe://88mph.com"))
    put = await ssf.server.put_facts(Person(nkey=clerk.public, name="clerk", roles=grants))
    await ssf.server_has(put.seq)
    nc = await ssf.server.outer("operator", clerk.public, clerk)
    for what in ("list", "dead", "emit", "resend", "status"):
        question = event(STREAMS, StreamsCommand(what=what), source="/test")  # type: ignore[arg-type]
        answer = json.loads((await nc.request(subjects.STREAMS.at(clerk.public), question, timeout=6)).data)
        assert answer["data"]["reason"] == "not_authorized", what
