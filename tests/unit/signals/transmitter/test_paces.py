"""How much one receiver may have written, whatever it asks for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from schemas.facts import EventStream, PollDelivery
from schemas.ssf import Asked
from workers.signals.transmitter.api import API, MOST_VERIFIED, PACE
from workers.signals.transmitter.ports import MANAGE, Held

STREAM = EventStream(stream_id="s1", client_id="c1", aud="c1", delivery=PollDelivery(), created_at=1_800_000_000)


def api(waiting: int = 0) -> API:
    async def read(stream_id: str) -> Held:
        return Held(STREAM if stream_id == "s1" else None, 1)

    async def size(_: str) -> int:
        return waiting

    receivers = {name: SimpleNamespace(client_id=name, scope=(MANAGE,)) for name in ("c1", "c2")}
    parts: dict[str, Any] = dict.fromkeys(("outbox", "poller", "pushers", "sealer", "rules", "jwks"))
    return API(
        SimpleNamespace(min_verification_interval_s=0),  # type: ignore[arg-type]  # what is asked of it
        SimpleNamespace(read=read),  # type: ignore[arg-type]
        SimpleNamespace(size=size),  # type: ignore[arg-type]
        authorizer=SimpleNamespace(receiver=lambda token, _: receivers[token]),  # type: ignore[arg-type]
        clock=SimpleNamespace(now=lambda: 1_800_000_000.0),  # type: ignore[arg-type]
        **parts,
    )


async def test_a_receiver_changes_its_streams_at_its_own_pace() -> None:
    """INVARIANT: how often one receiver has a fact written is bounded, and another's changes are not counted with it.

    Broken by bounding what one change holds alone: FACTS is kept for ever, and every worker reads each message of it.
    """
    made = api()
    burst = int(PACE[1])
    statuses = [(await made.answer(Asked(operation="delete", token="c1", stream_id="none"))).status for _ in range(burst + 1)]
    assert (set(statuses[:-1]), statuses[-1]) == ({404}, 429)
    assert (await made.answer(Asked(operation="delete", token="c2", stream_id="none"))).status == 404


async def test_who_fetches_nothing_has_nothing_verified() -> None:
    asked = Asked(operation="verify", token="c1", body='{"stream_id": "s1"}')
    assert (await api(MOST_VERIFIED).answer(asked)).status == 429
