"""Promise 5: after an enforcement point has acknowledged a revocation, nothing makes it accept what was revoked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from weft.follower import ACK_AFTER_S, RevocationFollower
from weft.token import verify_token

from tests.support.signed import ISSUER, NOW, TokenKey, Writer, beacon_event, claims, entry_event

KEY = TokenKey()
TOKEN = verify_token(KEY.sign(claims()), {KEY.kid: KEY.public}, issuer=ISSUER, audiences=["88mph.com"], now=NOW)
HIT = {1: replace(TOKEN, sub="marty"), 2: replace(TOKEN, sub="biff")}  # by the entry of that number


def history() -> tuple[Writer, dict[str, bytes]]:
    """Two entries, and the beacon that names the second."""
    writer = Writer()
    first, second = writer.entry(("user", "marty")), writer.entry(("user", "biff"))
    return writer, {"1": entry_event(first), "2": entry_event(second), "beacon": beacon_event(writer.beacon())}


@pytest.mark.parametrize("order", ["1 2 beacon", "2 beacon 1", "beacon 2 1", "beacon 1 2", "1 beacon 2", "2 1 beacon"])
async def test_what_is_acknowledged_is_refused_from_then_on(order: str) -> None:
    """INVARIANT: an acknowledgement of n is sent only when every token that entries up to n hit is refused here (promise 5).

    Acknowledging what was announced or received, instead of what counts, would break it.
    """
    writer, messages = history()
    acked: list[tuple[int, dict[int, int | None]]] = []  # with what hits each token at that moment

    async def send_ack(n: int, _epoch: int) -> None:
        acked.append((n, {entry: follower.view.revoked(token) for entry, token in HIT.items()}))

    follower = RevocationFollower(
        None,  # type: ignore[arg-type]  # delivered by hand
        {writer.kid: writer.public}.get,
        on_entry=lambda: None,
        on_unknown_key=lambda: None,
        send_ack=send_ack,
    )
    acks = asyncio.create_task(follower._acknowledge())
    try:
        await deliver(follower, [messages[name] for name in order.split()])
        assert acked[-1] == (2, {1: 1, 2: 2})
        for n, hits in acked:
            assert all(hits[entry] == entry for entry in HIT if entry <= n), "confirmed before it was applied"
    finally:
        acks.cancel()
        raised = (await asyncio.gather(acks, return_exceptions=True))[0]
    assert isinstance(raised, asyncio.CancelledError)


async def deliver(follower: RevocationFollower, bodies: Sequence[bytes]) -> None:
    """One after the other, with time to acknowledge in between."""
    for sequence, body in enumerate(bodies, 1):
        follower._on_message(sequence, "weft.revocation", body)
        await asyncio.sleep(2 * ACK_AFTER_S)  # an acknowledgement follows what it acknowledges by that much
