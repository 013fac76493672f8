"""Times as people give them, and the sweep that goes on until nothing lives."""

from __future__ import annotations

import argparse
import time
from typing import Any

import pytest

from workers.cli.tainted import MAX_SWEEPS, SWEPT, moment, sweep


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2026-11-24T06:00:00Z", 1_795_500_000), ("2026-11-24T07:00:00+01:00", 1_795_500_000), ("2026-11-24T06:00:00", 1_795_500_000)],
)
def test_a_moment(text: str, seconds: int) -> None:
    assert moment(text) == seconds


@pytest.mark.parametrize(("text", "ago"), [("90m", 5400), ("6h", 21_600), ("2d", 172_800), ("5s", 5)])
def test_a_moment_ago(text: str, ago: int) -> None:
    assert time.time() - ago - moment(text) < 2


@pytest.mark.parametrize("text", ["", "yesterday", "-5m", "6 h", "2026-13-01"])
def test_no_moment(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        moment(text)


class Client:
    """Audit and signals: tokens die when swept, unless they are immortal."""

    def __init__(self, tokens: int, *, immortal: bool = False) -> None:
        self.alive = {f"j{n}" for n in range(tokens)}
        self.immortal = immortal
        self.sizes: list[int] = []

    async def tokens(self, **_: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return {}, [{"jti": jti, "seq": 7, "agent": "spiffe://d/a", "how": "direct", "live": True} for jti in sorted(self.alive)]

    async def sweep(self, order: Any) -> Any:
        self.sizes.append(len(order.targets))
        self.alive -= set() if self.immortal else {target.value for target in order.targets}
        return type("Answer", (), {"rows": ({"n": len(self.sizes)},)})

    async def applied(self, n: int) -> None:
        assert n == len(self.sizes)


async def test_a_sweep_goes_in_entries_that_the_stream_takes() -> None:
    client = Client(SWEPT * 2 + 3)
    assert await sweep(client, {}, "r") == [1, 2, 3]  # type: ignore[arg-type]
    assert (client.sizes, client.alive) == ([SWEPT, SWEPT, 3], set())


async def test_a_sweep_of_what_is_minted_all_the_time_ends() -> None:
    client = Client(1, immortal=True)
    assert len(await sweep(client, {}, "r")) == MAX_SWEEPS  # type: ignore[arg-type]
