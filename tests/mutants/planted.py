"""Planted bugs, as data: `mutants.toml` says what promise or demo attack each breaks, one text replacement, and who must notice."""

from __future__ import annotations

import importlib.util
import tomllib
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).parent / "mutants.toml"


class DoesNotFit(Exception):
    """The text to be replaced is not there exactly once: the code has moved on, and the mutant has to follow."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug."""

    name: str
    breaks: str  # "P3: ..." for a promise of README.md, "D4: ..." for an attack of the demo's fourth step
    file: str
    old: str
    new: str
    tests: tuple[str, ...]  # pytest node ids, each of which passes without the bug; one of them must fail with it

    def plant(self, tree: Path) -> None:
        """Replace `old` in this copy.  Raises DoesNotFit."""
        target = tree / self.file
        text = target.read_text()
        if text.count(self.old) != 1:
            raise DoesNotFit(f"{self.name}: its text occurs {text.count(self.old)} times in {self.file}")
        target.write_text(text.replace(self.old, self.new))
        Path(importlib.util.cache_from_source(str(target))).unlink(missing_ok=True)  # it may be of the same second and size


def load(path: Path = LIST) -> tuple[Mutant, ...]:
    """Every mutant, in the list's order."""
    table = tomllib.loads(path.read_text())
    return tuple(Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in table["mutant"])
