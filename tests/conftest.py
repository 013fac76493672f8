"""Fixtures that every part of the tests shares."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import fabric


@pytest.fixture
async def fabric_server(tmp_path: Path) -> AsyncIterator[fabric.FabricServer]:
    """A real nats-server of its own, in operator mode, with the topology applied and its keys as facts."""
    running = await fabric.start(tmp_path / "state")
    try:
        yield running
    finally:
        await running.close()
