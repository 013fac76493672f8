"""What a step found: one line per check, and whether every one was as expected."""

from __future__ import annotations

import time

MOST_SHOWN = 110  # characters of what was seen, where it was as expected


class Report:
    """Prints as it goes."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self._started = time.monotonic()

    def step(self, number: int, title: str) -> None:
        """A heading."""
        print(f"\n{number}. {title}", flush=True)

    def check(self, ok: bool, what: str, seen: object = "") -> bool:  # noqa: FBT001 - the outcome is what it is about
        """One expectation: what should be, and what was seen."""
        shown = str(seen)
        note = f"  [{shown if len(shown) <= MOST_SHOWN or not ok else shown[:MOST_SHOWN] + '...'}]" if shown else ""
        print(f"   {'ok  ' if ok else 'FAIL'} {what}{note}", flush=True)
        if not ok:
            self.failed.append(what)
        return ok

    def say(self, text: str) -> None:
        """Something worth showing that is no expectation."""
        for line in text.splitlines():
            print(f"        {line}", flush=True)

    def close(self) -> int:
        """The exit status."""
        elapsed = time.monotonic() - self._started
        if self.failed:
            print(f"\n{len(self.failed)} not as expected, first: {self.failed[0]}  ({elapsed:.1f} s)", flush=True)
            return 1
        print(f"\nEvery step was as expected.  ({elapsed:.1f} s)", flush=True)
        return 0
