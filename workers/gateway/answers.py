"""What an agent is answered: a grant, or a code from a small closed set with an explanation id (design 5, What an agent learns)."""

from __future__ import annotations

from typing import Literal, get_args

from schemas.invocation import GRANTED, REFUSED, TOOLS_LISTED, Refused, ToolList
from schemas.reasons import DenyReason, told
from streams.bus import event, event_of

SOURCE = "/weft/gateway"

Needs = Literal["approval", "fresh_attestation", "proof_of_possession"]


def granted(grant: bytes, traceparent: str | None) -> bytes:
    """Endpoint and token: `schemas.invocation.Granted`, as the broker wrote it."""
    return event_of(GRANTED, grant, source=SOURCE, traceparent=traceparent)


def refused(
    reason: DenyReason, explanation: str, *, request_id: str | None = None, needs: str | None = None, traceparent: str | None = None
) -> bytes:
    """What may be told of this reason."""
    shown = next((known for known in get_args(Needs) if known == needs), None)
    answer = Refused(request_id=request_id, code=told(reason), needs=shown, explanation=explanation)
    return event(REFUSED, answer, source=SOURCE, traceparent=traceparent)


def limited(reason: DenyReason, second: int, retry_after_s: float) -> bytes:
    """The answer to everything that one second brings beyond the limits: one event, so that refusing stays cheap."""
    explanation = f"limited-{second}"
    answer = Refused(code=told(reason), retry_after_s=retry_after_s, explanation=explanation)
    return event(REFUSED, answer, source=SOURCE, id=explanation)


def listed(tools: ToolList) -> bytes:
    """The tools an agent may call."""
    return event(TOOLS_LISTED, tools, source=SOURCE)
