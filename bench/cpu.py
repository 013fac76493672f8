"""CPU of one granted call, by part: `python -m bench.cpu [RUNS [FLIGHT [CALLS]]]`.

A fabric with a process for each worker, one agent, calls that follow one another at the same depth; user and system time of every
process from /proc, so that another program on the machine disturbs it less than it does the clock.  For changes of the hot path:
the same command before and after.  Not a part of `make bench`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from statistics import median

import uvloop

from bench.invocation import LOAD_S, WARM, running

TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
FLIGHT, CALLS, RUNS = 64, 6000, 5


async def measure(runs: int, flight: int, calls: int) -> dict[str, float]:
    """Microseconds of one call in each part: the median of the runs."""
    spent: dict[str, list[float]] = {}
    async with running("--processes") as (agent, _):
        await agent.ask("load", within_s=LOAD_S, **WARM)
        for _ in range(runs):
            before = _ticks(os.getpid())
            await agent.ask("load", within_s=LOAD_S, flight=flight, calls=calls)
            for part, ticks in _ticks(os.getpid()).items():
                spent.setdefault(part, []).append((ticks - before.get(part, 0)) * TICK_US / calls)
    return {part: median(taken) for part, taken in spent.items()}


def _ticks(above: int) -> dict[str, int]:
    """Clock ticks of every process below that one, by part."""
    found: dict[str, int] = {}
    for child in Path(f"/proc/{above}/task/{above}/children").read_text().split():
        try:
            name, ticks = _part(int(child)), _spent(int(child))
            below = _ticks(int(child))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        for part, more in (*below.items(), (name, ticks)):
            found[part] = found.get(part, 0) + more
    return found


def _spent(pid: int) -> int:
    after = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(after[11]) + int(after[12])  # utime and stime, proc(5)


def _part(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    if "run" in words and "agent" not in words:
        return words[words.index("run") + 1]
    return "agent" if any(word.endswith("load.py") for word in words) else Path(words[0]).name


def main() -> None:
    """Prints the table."""
    runs, flight, calls = (int(said) for said in (*sys.argv[1:4], *(str(n) for n in (RUNS, FLIGHT, CALLS)[len(sys.argv) - 1 :])))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        spent = runner.run(measure(runs, flight, calls))
    for part, us in sorted(spent.items(), key=lambda one: -one[1]):
        print(f"{part:16} {us:8.1f} us")
    print(f"{'sum':16} {sum(spent.values()):8.1f} us")


if __name__ == "__main__":
    main()
