"""The text of `weft explain`, from the rows that audit answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def explanation(rows: Sequence[dict[str, Any]]) -> str:
    """One paragraph per event, in the order of the record."""
    return "\n\n".join(str(row) for row in rows)
