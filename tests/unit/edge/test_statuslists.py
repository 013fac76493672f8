"""Lists that anybody may ask for, at the edge."""

from __future__ import annotations

import asyncio

from schemas.points import Failure
from schemas.status import PERIOD_S, ListAnswered
from workers.edge.faces.statuslists import AROUND_NOW, Lists

NOW = 1_800_000_000.0
PRESENT = int(NOW) // PERIOD_S


class Revocation:
    """Answers when it is told to, one list at a time."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.slow = asyncio.Event()

    async def status_list(self, number: str) -> ListAnswered | Failure:
        self.asked.append(number)
        if number == str(PRESENT - 1):
            await self.slow.wait()
        return ListAnswered(token="a.b.c", max_age_s=5)


async def test_nobody_is_asked_for_what_is_no_list_of_now() -> None:
    """INVARIANT: strangers who ask for lists that there are not cost nobody else's verifier its list.

    Broken by asking over the bus for any number, one after the other: a few hundred questions a second and every list is late, and whoever
    cannot get a list accepts no token.
    """
    bus = Revocation()
    lists = Lists(bus, lambda: NOW)
    for number in ("0", "1", str(PRESENT - AROUND_NOW - 1), str(PRESENT + AROUND_NOW + 1), "9" * 12, f"0{PRESENT}"):
        assert await lists.get(number) is None
    assert bus.asked == []


async def test_one_list_that_is_slow_keeps_no_other_waiting() -> None:
    bus = Revocation()
    lists = Lists(bus, lambda: NOW)
    slow = asyncio.create_task(lists.get(str(PRESENT - 1)))
    await asyncio.sleep(0)
    assert isinstance(await lists.get(str(PRESENT)), ListAnswered)
    assert not slow.done()
    bus.slow.set()
    assert isinstance(await slow, ListAnswered)
