"""What an agent is answered: a grant, or a code from a small closed set with an explanation id (design 5, What an agent learns)."""

from __future__ import annotations

from typing import get_args

from schemas.invocation import APPROVAL_TOLD, GRANTED, REFUSED, TOOLS_LISTED, ApprovalState, Refused, ToolList
from schemas.reasons import DenyReason, told
from schemas.responses import Need
from streams.bus import event, event_of
from workers.gateway.stepping import Offer

SOURCE = "/weft/gateway"


def granted(grant: bytes, traceparent: str | None) -> bytes:
    """Endpoint and token: `schemas.invocation.Granted`, as the broker wrote it."""
    return event_of(GRANTED, grant, source=SOURCE, traceparent=traceparent)


def refused(
    reason: DenyReason,
    explanation: str,
    *,
    request_id: str | None = None,
    needs: str | None = None,
    offer: Offer | None = None,
    traceparent: str | None = None,
) -> bytes:
    """What may be told of this reason."""
    shown = next((known for known in get_args(Need) if known == needs), None)
    answer = Refused(
        request_id=request_id,
        code=told(reason),
        needs=shown,
        approval=offer.approval if offer is not None else None,
        challenge=offer.challenge if offer is not None else None,
        retry_after_s=offer.retry_after_s if offer is not None else None,
        explanation=explanation,
    )
    return event(REFUSED, answer, source=SOURCE, traceparent=traceparent)


def limited(reason: DenyReason, second: int, retry_after_s: float) -> bytes:
    """The answer to everything that one second brings beyond the limits: one event, so that refusing stays cheap."""
    explanation = f"limited-{second}"
    answer = Refused(code=told(reason), retry_after_s=retry_after_s, explanation=explanation)
    return event(REFUSED, answer, source=SOURCE, id=explanation)


def listed(tools: ToolList) -> bytes:
    """The tools an agent may call."""
    return event(TOOLS_LISTED, tools, source=SOURCE)


def told_approval(state: ApprovalState) -> bytes:
    """What became of an approval."""
    return event(APPROVAL_TOLD, state, source=SOURCE)
