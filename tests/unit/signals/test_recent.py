"""The signals of the last while: read again, also where a sender's keys are out of reach."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.facts import ResponsePolicy
from schemas.points import SET_DELIVERED, SetDelivery
from schemas.responses import ResponseRule
from schemas.signals import SecurityEventToken
from streams.bus import event
from tests.unit.signals.test_respond import HIGH, NOW, RISK, transmitter, uri
from workers.common.directget import Stored
from workers.signals import recent
from workers.signals.recent import Behind, Recent
from workers.signals.verify import KeyUnknown, VerifiedSET

COUNTS = ResponsePolicy(name="counts", rules=(ResponseRule(name="twice", confidence="high", count=2, within_s=600, response="quarantine"),))
AWAY, THERE = "https://away.example", "https://there.example"


class Keys:
    """Of two senders; those of one are away until `found`."""

    def __init__(self) -> None:
        self.version, self.found, self.asked = 0, False, 0

    def verify_known(self, unverified: str, now: float) -> VerifiedSET:
        iss, jti = {"a": AWAY, "b": THERE}[unverified[0]], unverified
        if iss == AWAY and not self.found:
            raise KeyUnknown("invalid_key", "kid names no key of the transmitter", iss)
        claims = {"iss": iss, "iat": NOW, "jti": jti, "aud": ["a"], "sub_id": uri(), "events": {RISK: HIGH}}
        return VerifiedSET(SecurityEventToken.model_validate(claims, strict=False), transmitter(iss=iss))

    async def refresh(self, iss: object, *, unknown_key: bool = False) -> bool:
        self.asked += 1
        return False


def a_table() -> Any:
    return SimpleNamespace(responses=lambda: (COUNTS,), issuers=tuple, version=lambda _: 1)


async def read(seen: Recent, seq: int) -> int | None:
    """How many signals it knows up to there; none where it says that it cannot tell."""
    try:
        return len(await seen.up_to(seq, NOW + seq))
    except Behind:
        return None


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What SIGNALS holds, from sequence 1 on."""
    held: list[str] = []

    async def page(*_: Any, seq: int, **__: Any) -> tuple[list[Stored], bool]:
        at = datetime.fromtimestamp(NOW, UTC).isoformat()
        bodies = (event(SET_DELIVERED, SetDelivery(set=f"{name}.b.c"), source="/test") for name in held)
        return [Stored(n, "weft.signal.x", at, body) for n, body in enumerate(bodies, 1) if n >= seq], False

    monkeypatch.setattr(recent.directget, "page", page)
    return held


async def test_a_sender_whose_keys_are_away_keeps_nobody_waiting(stream: list[str]) -> None:
    """INVARIANT: signals are counted and answered though another sender's keys cannot be had, and its own count once they can.

    Broken by reading no further than what can be verified: whoever stores one signal and withholds its key has nobody's answered any more.
    """
    keys = Keys()
    seen = Recent(SimpleNamespace(), a_table(), keys)  # type: ignore[arg-type]  # it is read by `page`
    stream += ["a1", "b1", "b2"]
    assert await read(seen, 3) == 2
    assert await read(seen, 3) == 2
    assert keys.asked == 1  # now and then, not with every signal
    keys.found, keys.version = True, 1
    assert await read(seen, 3) == 3
