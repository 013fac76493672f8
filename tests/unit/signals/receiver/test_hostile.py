"""What a transmitter, or its authorization server, may answer to end more than its own stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.facts import Subscription
from schemas.fetching import Fetch, Fetched
from schemas.points import SetAnswer
from workers.signals.receiver.poller import Poller
from workers.signals.receiver.remote import Metadata, Remote, RemoteFailed, RemoteStream, read_stream
from workers.signals.receiver.service import Receiver
from workers.signals.receiver.tokens import LONGEST_S, NotAuthorized, Tokens

ISS = "https://tx.example"
HOW = {"method": "client_credentials", "token_endpoint": f"{ISS}/token", "client_id": "weft", "client_auth": "private_key_jwt"}
STREAM = RemoteStream("s1", ISS, ("a",), "urn:ietf:rfc:8936", f"{ISS}/poll", (), (), None)


def subscription(**authorization: Any) -> Subscription:
    said = {"name": "corp", "iss": ISS, "delivery": "poll", "events": ["https://e.example/x"], "authorization": authorization}
    return Subscription.model_validate_json(json.dumps(said))


OURS = subscription(method="static")


class Edge:
    """Answers every request alike."""

    def __init__(self, body: str) -> None:
        self.body = body

    async def fetch(self, _: Fetch) -> Fetched:
        return Fetched(status=200, body=self.body)


def tokens(body: str) -> Tokens:
    clock: Any = SimpleNamespace(now=lambda: 0.0)
    return Tokens(Edge(body), lambda _: "secret", lambda _: "assertion", clock)


@pytest.mark.parametrize("life", ["1" + "0" * 400, "1e999", "86401"])
async def test_a_token_is_kept_for_no_longer_than_a_day(life: str) -> None:
    made = tokens(f'{{"access_token":"a","token_type":"bearer","expires_in":{life}}}')
    assert await made.token(subscription(**HOW)) == "a"
    assert made._held["corp"][1] <= LONGEST_S


@pytest.mark.parametrize(("token", "life"), [("a", "NaN"), ("a" * 5000, "60")], ids=["for an unknown time", "longer than a header"])
async def test_a_token_that_cannot_be_used_is_none(token: str, life: str) -> None:
    with pytest.raises(NotAuthorized):
        await tokens(f'{{"access_token":"{token}","token_type":"bearer","expires_in":{life}}}').token(subscription(**HOW))


def test_a_stream_whose_id_is_no_text_cannot_be_read() -> None:
    with pytest.raises(RemoteFailed):
        read_stream({"stream_id": "\ud800", "iss": ISS, "aud": "a", "delivery": {"method": "m"}})


async def test_an_endpoint_that_no_request_holds_is_a_failure() -> None:
    meta = Metadata(ISS, "https://" + "a" * 3000, None, None, None, starts_with_none=False)
    with pytest.raises(RemoteFailed):
        await Remote(Edge("[]"), tokens("{}")).streams(OURS, meta)


def receiver(hold: Callable[[Subscription], Any]) -> Receiver:
    facts: Any = SimpleNamespace(subscriptions=lambda: (OURS,), subscription=lambda _: OURS)
    keeper: Any = SimpleNamespace(hold=hold)
    poller: Any = None
    clock: Any = SimpleNamespace(now=lambda: 0.0)
    return Receiver(facts, keeper, poller, clock)


async def test_a_bug_that_one_transmitter_finds_is_no_end_of_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: whatever a transmitter answers, its stream is tried again, and everybody else's goes on.

    Broken by letting an exception that nobody foresaw end the task: nothing is polled any more, and nothing says so.
    """
    enough = asyncio.Event()
    tries: list[None] = []

    async def hold(_: Subscription) -> RemoteStream:
        tries.append(None)
        if len(tries) == 3:
            enough.set()
        raise OverflowError("int too large to convert to float")

    monkeypatch.setattr("workers.signals.receiver.service.PAUSES_S", (0.0,))
    monkeypatch.setattr("workers.signals.receiver.service.TOGETHER_S", 0.0)
    made = receiver(hold)
    running, again = asyncio.create_task(made.run()), asyncio.create_task(enough.wait())
    await asyncio.wait({again}, timeout=2)
    tried_again, said = again.done(), made.detail()
    for task in (running, again):
        task.cancel()
    await asyncio.gather(running, again, return_exceptions=True)
    assert tried_again
    assert "OverflowError" in said["subscriptions"]["corp"]


async def test_a_transmitter_that_always_has_more_is_left_in_the_end() -> None:
    """INVARIANT: a poll ends when its time has passed, whatever is offered, and what was taken is acknowledged.

    Broken by polling for as long as there is something to acknowledge: the stream is never compared with its subscription again.
    """
    asked: list[dict[str, Any]] = []

    async def poll(_of: Subscription, _url: str, said: dict[str, Any], _deadline_s: float, _most: int) -> dict[str, Any]:
        asked.append(said)
        return {"sets": {f"j{len(asked)}": "a.b.c"} if len(asked) < 50 else {}, "moreAvailable": True}

    async def accept(_: str, __: Subscription) -> SetAnswer:
        return SetAnswer(accepted=True)

    remote: Any = SimpleNamespace(poll=poll)
    await Poller(remote, accept).run(OURS, STREAM, 0.05)
    assert len(asked) < 50
    assert asked[-1]["maxEvents"] == 0
    assert asked[-1]["ack"] == [f"j{len(asked) - 1}"]


async def test_a_bug_about_one_set_keeps_no_other_from_being_settled() -> None:
    answers = iter([{"sets": {"bad": "b.b.b", "good": "g.g.g"}}, {"sets": {}}])
    settled: list[Any] = []

    async def poll(_of: Subscription, _url: str, said: dict[str, Any], *_: Any) -> dict[str, Any]:
        settled.append(said.get("ack"))
        return next(answers)

    async def accept(unverified: str, _: Subscription) -> SetAnswer:
        if unverified == "b.b.b":
            raise OverflowError
        return SetAnswer(accepted=True)

    remote: Any = SimpleNamespace(poll=poll)
    await Poller(remote, accept).run(OURS, STREAM, 0.0001)
    assert settled == [None, ["good"]]
