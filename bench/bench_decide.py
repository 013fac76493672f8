"""What a decision costs: memoised, cold (slice and policies evaluated anew), and with the memo turned over by events.

python -m bench.bench_decide
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import quantiles

from streams.facts_memo import Memo
from tests.support import world
from tests.support.facts import message, put
from workers.common.decision import decide

ROUNDS = 2000
Row = tuple[str, float, float, float | None]
WARM_GOAL_US, COLD_GOAL_US = 60.0, 500.0


def measure() -> list[Row]:
    """Name, p50 and p99 in microseconds, and the goal where there is one."""
    table, asked = world.facts(), world.request("refund")
    subject, raw = message(world.bodies()["marty-refunds"])

    def cold() -> None:
        policies = table.memo.get("policies")
        table.memo = Memo()
        table.memo.put("policies", policies, ("policy",))

    def touched() -> None:
        table.apply(table.revision + 1, subject, raw)

    decide(asked, table)
    rows: list[Row] = [
        ("decide, memoised", *_time(lambda: None, lambda: decide(asked, table)), WARM_GOAL_US),
        ("decide, cold", *_time(cold, lambda: decide(asked, table)), COLD_GOAL_US),
        ("decide after an event on its slice", *_time(touched, lambda: decide(asked, table)), COLD_GOAL_US),
    ]
    for n in range(1000):
        put(table, {"kind": "policy", "name": f"p{n}", "cedar": f'forbid (principal == Weft::Agent::"a{n}", action, resource);'})
    decide(asked, table)
    rows.append(("decide, cold, among 1,000 policies about others", *_time(cold, lambda: decide(asked, table)), COLD_GOAL_US))
    rows.append(("apply one relation", *_time(lambda: None, touched), None))
    return rows


def _time(before: Callable[[], object], act: Callable[[], object]) -> tuple[float, float]:
    took = []
    for _ in range(ROUNDS):
        before()
        start = time.perf_counter()
        act()
        took.append((time.perf_counter() - start) * 1e6)
    cuts = quantiles(took, n=100)
    return cuts[49], cuts[98]


def main() -> None:
    """Print the table."""
    print(f"{'':<50}{'p50 us':>10}{'p99 us':>10}{'goal':>8}")
    for name, p50, p99, goal in measure():
        print(f"{name:<50}{p50:>10.1f}{p99:>10.1f}{'' if goal is None else f'{goal:.0f}':>8}")


if __name__ == "__main__":
    main()
