"""HTTP through the edge, for workers of FABRIC (`weft.edge.fetch`): they face no network themselves."""

from __future__ import annotations

from nats.aio.client import Client

from schemas.fetching import FETCH, FETCHED, Fetch, Fetched
from schemas.points import Failure
from streams.bus import event
from streams.subjects import FETCH as FETCH_SUBJECT
from workers.common.asking import Unanswered, ask

GRACE_S = 1.0  # beyond the request's own deadline, for the bus


class FetchUnavailable(Exception):
    """No edge answered, or it refused to try; nobody knows whether the request was sent."""


class Fetcher:
    """Asks whichever edge answers."""

    def __init__(self, nc: Client, *, source: str) -> None:
        self._nc = nc
        self._source = source

    async def fetch(self, asked: Fetch) -> Fetched:
        """The answer, or why there is none.  Raises FetchUnavailable."""
        question = event(FETCH, asked, source=self._source)
        try:
            got = await ask(self._nc, FETCH_SUBJECT.at(), question, FETCHED, Fetched, deadline_s=asked.deadline_s + GRACE_S)
        except Unanswered as error:
            raise FetchUnavailable(str(error)) from None
        if isinstance(got, Failure):
            raise FetchUnavailable(got.detail)
        return got
