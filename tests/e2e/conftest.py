"""One whole fabric for the scenarios of this folder: every worker, admission included, as `weft up` starts them."""

import pytest

from workers.common.manifest import load as load_manifest
from workers.demo.report import Report
from workers.demo.scene import Scene
from workers.demo.stage import Stage


@pytest.fixture
async def scene(tmp_path):
    async with Stage(tmp_path) as stage:
        scene = Scene(stage, Report())
        await stage.operator.apply(load_manifest(stage.manifest()), reason="scenario")
        await scene.put(*scene.outsiders(), reason="scenario")
        yield scene
