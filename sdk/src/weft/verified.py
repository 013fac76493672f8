"""A call that a guard has accepted, for as long as the tool serves it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from weft.claims import VerifiedToken
from weft.errors import GuardReason

Outcome = Literal["positive", "negative", "none"]


@dataclass(eq=False)
class Verified:
    """`token` says who acts, for whom and why; `cancelled` is set when the token is revoked while the call runs: stop then."""

    token: VerifiedToken
    tool: str
    actions: tuple[str, ...]
    object: str | None  # digest of what the call is about, where the tool's record tells what that is
    cancelled: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


def use_of(
    token: VerifiedToken,
    tool: str,
    actions: tuple[str, ...],
    now: float,
    *,
    reason: GuardReason | None = None,
    outcome: Outcome = "none",
    object: str | None = None,  # noqa: A002 - the contract's name
) -> dict[str, Any]:
    """The report of a call, accepted unless there is a reason: plain data of `Use`."""
    said = {"reason": reason and str(reason), "object": object}
    return {
        "tool": tool,
        "jti": token.jti,
        "txn": token.txn,
        "sub": token.sub,
        "agent": token.act.sub,
        "instance": token.act.instance,
        "actions": list(actions),
        "accepted": reason is None,
        "outcome": outcome,
        "at": int(now),
        **{name: value for name, value in said.items() if value is not None},
    }
