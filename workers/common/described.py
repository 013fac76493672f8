"""Plain nats-py subscriptions, described in the worker's AsyncAPI document as its FastStream subscribers are.

Hot subjects are not FastStream subscribers (docs/decisions/0005-hot-path.md); their contract is told all the same, by a broker that
never connects and whose handler is never called.
"""

from __future__ import annotations

from typing import Any

from faststream import FastStream
from faststream.nats import NatsBroker

from schemas.base import Wire
from schemas.envelope import CloudEvent
from streams.subjects import Subject


def describe(app: FastStream, family: Subject, queue: str, model: type[Wire]) -> None:
    """Add the subject to the document."""
    paper = NatsBroker()

    async def described(msg: Any) -> None:
        """Never called: this broker never connects."""

    described.__annotations__["msg"] = CloudEvent[model]  # type: ignore[valid-type]
    paper.subscriber(family.filter, queue=queue, title=family.prefix)(described)
    app.schema.add_broker(paper)
