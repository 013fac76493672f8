"""A revocation as a worker orders it, on a real server."""

from __future__ import annotations

from typing import Any

from weft.digest import sha256

from schemas.revocation import ORDER, Order, Ordered
from streams import subjects
from streams.bus import HEADERS, event, parse


async def revoke(server: Any, kind: Any, value: str) -> None:
    """With the credential of `signals`; the entry is committed when this returns."""
    order = Order(id=sha256(value), targets=((kind, value),), cause="test", by="test")
    signals = await server.worker("signals")
    answer = await signals.request(subjects.ORDER.at(), event(ORDER, order, source="/test"), timeout=5, headers=HEADERS)
    assert parse(Ordered, answer.data).data.n >= 1
    await signals.close()
