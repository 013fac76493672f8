"""The OAuth face without a bus, one per test."""

import pytest

from tests.support.oauth import OAuthWorld


@pytest.fixture
async def world():
    made = OAuthWorld()
    yield made
    await made.recorder.close()
