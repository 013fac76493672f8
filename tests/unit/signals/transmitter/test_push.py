"""What a receiver's answer to a push means.  RFC 8935 sections 2.2 to 2.4."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.facts import PushDelivery
from schemas.fetching import Fetch, Fetched
from schemas.ssf import Queued
from workers.common.fetching import FetchUnavailable
from workers.signals.transmitter.push import GIVE_UP_S, RETRIES_S, Delivered, GivenUp, Retry, judge, send

SAID_NO = json.dumps({"err": "invalid_audience", "description": "not me"})


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Fetched(status=202), Delivered()),
        (Fetched(status=200, body="thanks"), Delivered()),
        (Fetched(status=500), Retry(1.0, "status 500")),
        (Fetched(status=503, headers=(("retry-after", "30"),)), Retry(30.0, "status 503")),
        (Fetched(status=429, headers=(("retry-after", "7200"),)), Retry(3600.0, "status 429")),
        (Fetched(status=429, headers=(("retry-after", "soon"),)), Retry(1.0, "status 429")),
        (Fetched(failed="unreachable"), Retry(1.0, "unreachable")),
        (Fetched(failed="tls"), Retry(1.0, "tls")),
        (Fetched(), Retry(1.0, "no answer")),
        (None, Retry(1.0, "no edge answered")),
        (Fetched(status=400, body=SAID_NO), GivenUp("invalid_audience", "status 400")),
        (Fetched(status=400, body="[]"), GivenUp("http_400", "status 400")),
        (Fetched(status=400, body='{"err": 1}'), GivenUp("http_400", "status 400")),
        (Fetched(status=400, body=json.dumps({"err": "Bearer s3cret"})), GivenUp("http_400", "status 400")),
        (Fetched(status=401), GivenUp("http_401", "status 401")),
        (Fetched(status=307, headers=(("location", "https://x"),)), GivenUp("http_307", "status 307")),
        (Fetched(refused="the address is not a global one"), GivenUp("endpoint_refused", "the address is not a global one")),
    ],
)
def test_an_answer_is_judged(answer: Fetched | None, verdict: Any) -> None:
    """INVARIANT: what a receiver said no to is not sent again by itself, and what only the network refused is.

    Repeating an `err` would break it, and so would giving up because a receiver was being restarted.
    """
    assert judge(answer, 1, 0.0) == verdict


def test_pauses_grow_and_end() -> None:
    delays = [judge(Fetched(status=503), attempt, 60.0) for attempt in range(1, 12)]
    assert [verdict.delay_s for verdict in delays if isinstance(verdict, Retry)] == [*RETRIES_S, *[RETRIES_S[-1]] * 4]
    given_up = judge(None, 99, GIVE_UP_S)
    assert isinstance(given_up, GivenUp)
    assert given_up.abandoned
    assert isinstance(judge(Fetched(status=202), 99, GIVE_UP_S * 2), Delivered)


class Fetches:
    def __init__(self, answer: Fetched | None) -> None:
        self.answer, self.asked = answer, []

    async def fetch(self, asked: Fetch) -> Fetched:
        self.asked.append(asked)
        if self.answer is None:
            raise FetchUnavailable("x")
        return self.answer


@pytest.mark.parametrize("header", [None, "Bearer s"])
async def test_what_is_sent(header: str | None) -> None:
    fetches = Fetches(Fetched(status=202))
    queued = Queued(stream_id="s", jti="j", event="e", set="a.b.c")
    await send(fetches, PushDelivery(endpoint_url="https://rx.example/"), header, queued)
    (asked,) = fetches.asked
    assert (asked.method, asked.url, asked.body) == ("POST", "https://rx.example/", "a.b.c")
    expected = {"Content-Type": "application/secevent+jwt", "Accept": "application/json"}
    assert dict(asked.headers) == (expected if header is None else {**expected, "Authorization": header})
    assert "Bearer" not in repr(asked)


async def test_an_edge_that_is_not_there_is_no_answer() -> None:
    queued = Queued(stream_id="s", jti="j", event="e", set="a.b.c")
    assert await send(Fetches(None), PushDelivery(endpoint_url="https://rx.example/"), None, queued) is None
