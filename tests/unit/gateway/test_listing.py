"""What may I call, asked without end."""

from __future__ import annotations

from schemas.invocation import ToolList
from workers.gateway.listing import KEPT_S, SHARE, Listings

COST_S = 0.04  # a hundred tools


class Gates:
    """Takes its time, and counts."""

    def __init__(self) -> None:
        self.asked, self.at = 0, 0.0

    def stopwatch(self) -> float:
        return self.at

    def find(self, revision: int) -> ToolList:
        self.asked += 1
        self.at += COST_S
        return ToolList(tools=(), facts_revision=revision)


def test_one_agent_that_asks_without_end_takes_its_share_of_the_gateway() -> None:
    """INVARIANT: however often an agent asks what it may call, and however often facts change, finding it takes a twentieth of the time.

    Broken by finding it anew each time: a few dozen questions a second, far below what its limit allows, and nobody else is answered.
    """
    gates = Gates()
    listings = Listings(gates.stopwatch)
    for tick in range(2000):  # ten seconds; every question at another revision
        listings.of("a", tick, tick / 200, lambda tick=tick: gates.find(tick))  # type: ignore[misc]  # bound at once
    assert gates.asked * COST_S <= 10 * SHARE + COST_S


def test_what_has_not_changed_is_not_found_anew_and_what_has_is() -> None:
    gates = Gates()
    listings = Listings(gates.stopwatch)
    first = listings.of("a", 1, 0.0, lambda: gates.find(1))
    assert listings.of("a", 1, KEPT_S - 0.1, lambda: gates.find(1)) is first
    assert listings.of("a", 1, KEPT_S, lambda: gates.find(1)) is not first
    assert listings.of("b", 1, KEPT_S, lambda: gates.find(1)) is not first
    assert listings.of("a", 2, KEPT_S + COST_S / SHARE + 0.1, lambda: gates.find(2)).facts_revision == 2
    assert gates.asked == 4
