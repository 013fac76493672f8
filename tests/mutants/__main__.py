"""Runs the planted bugs: `python -m tests.mutants [NAME ...]`.  Exit status 0 only if every one was killed; 2 for an unknown name.

First the tests without any bug, then the bugs, two at a time.  README.md beside this file says which promise is held by what.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from tests.mutants.planted import Mutant, load
from tests.mutants.trial import PASSED, Outcome, Report, Verdict, baseline, trial

AT_ONCE = 2  # cores


def main(names: Sequence[str]) -> int:
    """A line for each, as they end, and a summary."""
    mutants = load()
    unknown = set(names) - {mutant.name for mutant in mutants}
    if unknown:
        print(f"no such mutant: {', '.join(sorted(unknown))}")
        return 2
    began = time.monotonic()
    outcomes = _try([mutant for mutant in mutants if not names or mutant.name in names])
    if outcomes is None:
        return 1
    counted = Counter(outcome.verdict for outcome in outcomes.values())
    print(f"\n{counted[Verdict.KILLED]} of {len(outcomes)} killed in {time.monotonic() - began:.0f} s")
    for name, outcome in outcomes.items():
        if outcome.verdict is not Verdict.KILLED:
            print(f"  {outcome.verdict}: {name}: {outcome.detail}")
    return 0 if counted[Verdict.KILLED] == len(outcomes) > 0 else 1


def _try(mutants: Sequence[Mutant]) -> dict[str, Outcome] | None:
    """None where the tests do not even pass without a bug."""
    outcomes: dict[str, Outcome] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        unchanged = pool.submit(baseline, mutants)
        running = {pool.submit(trial, mutant): mutant for mutant in mutants}
        for future in as_completed(running):
            if unchanged.done() and not _green(unchanged.result()):
                pool.shutdown(cancel_futures=True)
                return None
            mutant, outcome = running[future], future.result()
            outcomes[mutant.name] = outcome
            _tell(mutant, outcome)
    return outcomes if _green(unchanged.result()) else None


def _green(report: Report) -> bool:
    if report.status == PASSED and report.ran:
        return True
    print(f"the tests fail without a bug, so none of this proves anything:\n{report.output[-3000:]}")
    return False


def _tell(mutant: Mutant, outcome: Outcome) -> None:
    print(f"{outcome.verdict:<8}  {outcome.seconds:5.1f} s  {mutant.name}: {mutant.breaks}", flush=True)
    print(f"{'':19}{'by ' if outcome.verdict is Verdict.KILLED else ''}{outcome.detail}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
