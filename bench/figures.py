"""One measured figure, the table, and `bench/latest.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

LATEST = Path(__file__).parent / "latest.json"


@dataclass(frozen=True)
class Figure:
    """`ratio` is value over baseline, where there is one."""

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None

    @classmethod
    def beside(cls, name: str, value: float, unit: str, baseline: float) -> Figure:
        """A figure with its yardstick."""
        return cls(name, round(value, 4), unit, round(baseline, 4), round(value / baseline, 3) if baseline else None)


def percentile(samples: list[float], share: float) -> float:
    """Of sorted samples."""
    return samples[min(len(samples) - 1, int(len(samples) * share))]


def publish(figures: list[Figure]) -> None:
    """Prints the table and writes the file."""
    LATEST.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")
    print(f"\n{'name':44} {'value':>12} {'unit':10} {'baseline':>12} {'ratio':>7}")
    for f in figures:
        baseline = "" if f.baseline is None else f"{f.baseline:12.3f}"
        ratio = "" if f.ratio is None else f"{f.ratio:7.2f}"
        print(f"{f.name:44} {f.value:12.3f} {f.unit:10} {baseline:>12} {ratio:>7}")
