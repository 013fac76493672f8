"""Drills: the fabric shows a token that allows nothing, revokes it, and hears what this guard's own check says of it.

The verdict is that of the guard's steps 1 to 5 and 9, with the very functions that a call goes through; only the action is left out,
since a canary token has none, and nothing is claimed or served.  It is given when the token is shown, when it is shown again, and when an
entry is applied that changes it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from weft import reading as read
from weft import wire
from weft.claims import VerifiedToken
from weft.enforcement import check_addressed, check_view
from weft.errors import GuardReason, Malformed, Refused
from weft.records import Tool
from weft.revocation import RevocationView

SHOWN = "org.weft.drill.shown.v1"
MAX_ARMED = 16
logger = logging.getLogger("weft.drills")

Verify = Callable[[str], VerifiedToken]
Tell = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class Armed:
    """A canary that was shown."""

    drill: str
    tool: str
    token: str = field(repr=False)
    said: tuple[bool, GuardReason | None] | None = None


class Drills:
    """`look` gives the tool's record and the view as they are now; `tell` sends a verdict."""

    def __init__(self, verify: Verify, look: Callable[[str], tuple[Tool, RevocationView]], clock: Callable[[], float], tell: Tell) -> None:
        self._verify = verify
        self._look = look
        self._clock = clock
        self._tell = tell
        self._armed: OrderedDict[tuple[str, str], Armed] = OrderedDict()

    @property
    def armed(self) -> bool:
        """Whether an entry may change a verdict."""
        return bool(self._armed)

    async def shown(self, body: bytes) -> None:
        """A canary was shown, perhaps again.  What cannot be read is nobody's canary."""
        try:
            event = wire.parse(body)
            if event.type != SHOWN:
                return
            armed = Armed(read.text(event.data, "drill"), read.text(event.data, "tool"), read.text(event.data, "token"))
        except Malformed:
            return
        self._armed[armed.drill, armed.tool] = armed
        if len(self._armed) > MAX_ARMED:
            self._armed.popitem(last=False)
        await self._say(armed)

    async def applied(self) -> None:
        """An entry counts here now."""
        for armed in list(self._armed.values()):
            if self._judge(armed.tool, armed.token) != armed.said:
                await self._say(armed)
            if armed.said is not None and not armed.said[0]:
                self._armed.pop((armed.drill, armed.tool), None)

    async def _say(self, armed: Armed) -> None:
        accepted, reason = armed.said = self._judge(armed.tool, armed.token)
        try:
            counter = self._look(armed.tool)[1].counter
        except Refused:
            counter = 0
        said = {"drill": armed.drill, "tool": armed.tool, "accepted": accepted, "n": counter, "at": self._clock()}
        try:
            await self._tell(said if reason is None else {**said, "reason": str(reason)})
        except Exception as error:  # noqa: BLE001 - the client's; a drill that hears nothing says so
            logger.info("verdict_failed", extra={"error": type(error).__name__})

    def _judge(self, name: str, unverified: str) -> tuple[bool, GuardReason | None]:
        """What a call with this token would hear, but for the action.  A bug refuses, here as there."""
        try:
            token = self._verify(unverified)
            tool, view = self._look(name)
            check_addressed(token, tool)
            check_view(token, tool, view, self._clock())
        except Refused as refused:
            return False, refused.reason
        except Exception:  # noqa: BLE001
            return False, GuardReason.INTERNAL
        return True, None
