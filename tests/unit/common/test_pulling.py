"""How workers pull."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_no_message_waits_for_company() -> None:
    """INVARIANT: a worker fetches one message at a time, so that none is held back until a batch is full.

    A batch would break it: nats-py keeps the second message after a pause for up to the whole timeout of the fetch
    (`workers.common.pulling`).
    """
    found = {str(file.relative_to(ROOT)): file.read_text() for file in (ROOT / "workers").rglob("*.py")}
    pulling = {name: text for name, text in found.items() if "PullSub(" in text}
    assert set(pulling) == {"workers/common/pulling.py"}
    assert pulling["workers/common/pulling.py"].count("PullSub(batch_size=1)") == 1
