"""Runs the planted bugs: `python -m tests.mutants [NAME ...]`.  Exit status 1 if one survives.

`mutants.toml` lists them: what promise or demo attack each breaks, one text replacement, and the tests that must notice.  Each is
planted in a copy of the tree that goes before the installed one on PYTHONPATH, so the checkout is never touched.
A mutant is killed by a failing test (pytest's exit status 1) alone: a collection error would prove nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("config", "schemas", "streams", "workers", "sdk", "tests", "bench", "pyproject.toml")
TESTS_FAILED = 1
DEADLINE_S = 300
AT_ONCE = 2  # cores


@dataclass(frozen=True)
class Mutant:
    """One planted bug."""

    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def plant(self, tree: Path) -> None:
        """Replaces `old`, which must occur exactly once: a mutant that no longer fits is an error, not a success."""
        target = tree / self.file
        text = target.read_text()
        if text.count(self.old) != 1:
            raise SystemExit(f"{self.name}: its text occurs {text.count(self.old)} times in {self.file}")
        target.write_text(text.replace(self.old, self.new))


def load() -> list[Mutant]:
    """Every mutant of mutants.toml."""
    table = tomllib.loads((Path(__file__).parent / "mutants.toml").read_text())
    return [Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in table["mutant"]]


def survives(mutant: Mutant) -> bool:
    """Plants it in a copy and runs its tests there."""
    with tempfile.TemporaryDirectory(prefix="weft-mutant-") as folder:
        tree = Path(folder)
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tree / name)
        mutant.plant(tree)
        paths = os.pathsep.join((str(tree), str(tree / "sdk" / "src")))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *mutant.tests]
        run = subprocess.run(  # the command is ours
            command, cwd=tree, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
    if run.returncode not in (0, TESTS_FAILED):
        sys.stderr.write(run.stdout[-3000:] + run.stderr[-2000:])
    return run.returncode != TESTS_FAILED


def main(names: list[str]) -> int:
    """Prints a line for each; 1 if one survived."""
    chosen = [mutant for mutant in load() if not names or mutant.name in names]
    survivors = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for mutant, alive in zip(chosen, pool.map(survives, chosen), strict=True):
            survivors += alive
            print(f"{'SURVIVED' if alive else 'killed  '}  {mutant.name}: {mutant.breaks}", flush=True)
    print(f"{len(chosen) - survivors} killed, {survivors} survived")
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
