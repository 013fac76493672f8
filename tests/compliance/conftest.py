"""The OAuth face without a bus, one per test."""

import pytest

from tests.support.oauth import OAuthWorld
from tests.support.web import Web


@pytest.fixture
async def world():
    made = OAuthWorld()
    yield made
    await made.recorder.close()


@pytest.fixture
def web():
    return Web()
