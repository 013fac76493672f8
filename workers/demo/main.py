"""`weft demo [--break N]`: the whole of it in a folder of its own; exit status 0 only if every step was as expected."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from workers.common.manifest import load as load_manifest
from workers.common.operator_client import Refused, Unreachable
from workers.demo.assurance import explained, quarantined
from workers.demo.attacks import attacks
from workers.demo.calls import attested, delegated, on_behalf
from workers.demo.report import Report
from workers.demo.scene import Scene
from workers.demo.stage import Stage, StageError

STEPS: tuple[Callable[[Scene], Awaitable[None]], ...] = (attested, on_behalf, delegated, attacks, quarantined, explained)


async def run(folder: Path | None = None, broken: int = 0, up: Sequence[str] = ()) -> int:
    """Plays every step; `broken` plants a fault in that one, which is the last then.  `up`: further options of `weft up`.

    The folder is kept when it was given, or when something failed.
    """
    report = Report()
    place = folder or Path(tempfile.mkdtemp(prefix="weft-demo-"))
    try:
        async with Stage(place, up) as stage:
            scene = Scene(stage, report, broken)
            await stage.operator.apply(load_manifest(stage.manifest()), reason="the demonstration")
            await scene.put(*scene.outsiders(), reason="Marty's identity provider, a partner's, and the risk engine")
            for step in STEPS[: broken or None]:
                await step(scene)
    except (StageError, Refused, Unreachable) as error:
        report.check(ok=False, what="the stage holds", seen=error)
    status = report.close()
    if status:
        print(f"logs and ledgers: {place}")
    elif folder is None:
        shutil.rmtree(place, ignore_errors=True)
    return status
