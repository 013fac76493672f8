"""What a command prints: a table for people, JSON for programs (`--json`: one document, or one line per event of a stream)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from workers.cli.exits import Stop

MAX_CELL = 72


def clean(text: str) -> str:
    """One line: control characters of whoever wrote it do not reach the terminal, nor do those that turn the text around."""
    return "".join(c if c.isprintable() else "?" for c in text)


def clean_lines(text: str) -> str:
    """The same of several."""
    return "\n".join(map(clean, text.split("\n")))


def cell(value: object) -> str:
    """One value in one cell."""
    if value is None:
        text = "-"
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, str):
        text = value
    elif isinstance(value, Sequence) and all(isinstance(item, str | int | float) for item in value):
        text = ", ".join(map(str, value)) or "-"
    else:
        text = json.dumps(value, ensure_ascii=False)
    text = clean(text)
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Aligned columns under a head of capitals."""
    cells = [[name.upper().replace("_", " ") for name in columns], *([cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells)


def as_yaml(value: object) -> str:
    """As people write facts."""
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=120)
    return text.rstrip()


class Output:
    """Where a command writes.  Errors go to standard error, as one line or one JSON object."""

    def __init__(self, *, as_json: bool, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.as_json = as_json
        self._out, self._err = out or sys.stdout, err or sys.stderr

    def value(self, value: Any, text: str | None = None) -> None:
        """One answer: `value` as JSON, or `text` for people."""
        text = json.dumps(value) if self.as_json or text is None else clean_lines(text)
        if text:
            print(text, file=self._out, flush=True)

    def rows(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str = "nothing") -> None:
        """A list of like things."""
        self.value(list(rows), table(rows, columns) if rows else empty)

    def say(self, text: str) -> None:
        """A sentence for people; programs do not get it."""
        if not self.as_json:
            print(clean_lines(text), file=self._out, flush=True)

    def event(self, value: Any, line: str) -> None:
        """One of a stream: a line of JSON, or of text."""
        print(json.dumps(value) if self.as_json else clean(line), file=self._out, flush=True)

    def stop(self, stop: Stop) -> None:
        """Why a command did not do it."""
        if self.as_json:
            print(json.dumps({"error": stop.reason, "detail": stop.detail, "exit": int(stop.status)}), file=self._err, flush=True)
        else:
            print(f"weft: {clean_lines(str(stop))}", file=self._err, flush=True)
