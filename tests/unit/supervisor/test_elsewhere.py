"""Where `weft up` is started says nothing about what its workers run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from workers.supervisor.keeper import OwnProcess


async def test_a_worker_imports_nothing_from_the_folder_it_is_started_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: `weft up` in a folder that somebody else filled runs none of what lies there.

    Broken by `python -m`, which puts the working directory before everything that is installed: each worker holds its keys and credentials.
    """
    marker = tmp_path / "it-ran"
    for name in ("workers", "config", "structlog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"open({str(marker)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    async with asyncio.timeout(20):
        await OwnProcess("edge", 0, tmp_path / "no-fabric").run_once()
    assert not marker.exists()
