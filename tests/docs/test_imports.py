"""Imports go one way: schemas <- streams <- workers; the SDK needs nothing of them; workers never import each other (design section 7)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"config", "schemas", "streams", "workers", "weft", "bench", "tests"}
# What each package may import of ours; `weft` is the SDK, whose verifier and views the workers use too.
ALLOWED = {
    "schemas": {"schemas", "weft"},
    "config": {"config"},
    "streams": {"streams", "schemas", "config", "weft"},
    "workers": {"workers", "streams", "schemas", "config", "weft"},
    "weft": {"weft"},
}
PLACES = {
    "schemas": ROOT / "schemas",
    "config": ROOT / "config",
    "streams": ROOT / "streams",
    "workers": ROOT / "workers",
    "weft": ROOT / "sdk/src/weft",
}
WORKERS = {"admission", "registry", "gateway", "broker", "signals", "revocation", "audit", "edge", "egress"}
# Who starts, drives or shows the workers knows them by name; `common` is what they share.
OUTSIDE = {"common", "supervisor", "cli", "demo", "issuer"}


def imported(path: Path) -> Iterator[str]:
    """Dotted names of everything a module imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they go"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*.py") if "proto" not in path.parts)


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_go_one_way(package):
    """INVARIANT: a lower layer never imports a higher one, and the SDK imports none of the fabric.

    A schema that reads settings, a stream helper that calls a worker, or an SDK module that wants `schemas` would break it.
    """
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(PLACES[package])
        for name in imported(path)
        if (top := name.partition(".")[0]) in OURS and top not in ALLOWED[package]
    ]
    assert wrong == []


def test_workers_never_import_each_other():
    """INVARIANT: workers meet in subjects and nowhere else.

    `from workers.broker import ...` in the gateway would break it: a gateway that can call the broker in memory is believed by it.
    """
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for worker in sorted(WORKERS)
        for path in modules(ROOT / "workers" / worker)
        for name in imported(path)
        if name.startswith("workers.") and name.split(".")[1] not in {worker, "common"}
    ]
    assert wrong == []


def test_what_workers_share_imports_no_worker():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(ROOT / "workers" / "common")
        for name in imported(path)
        if name.startswith("workers.") and name.split(".")[1] != "common"
    ]
    assert wrong == []


def test_every_worker_is_known():
    """A new folder under workers/ has to be named above, so that the rules reach it."""
    found = {path.name for path in (ROOT / "workers").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found <= WORKERS | OUTSIDE


@pytest.mark.parametrize("worker", sorted(WORKERS))
def test_every_worker_states_its_mandate(worker):
    docstring = ast.get_docstring(ast.parse((ROOT / "workers" / worker / "__init__.py").read_text()))
    assert docstring is not None
    assert len(docstring) > 80, "what it alone may do, and what it must never"


def test_the_framework_stays_at_the_edges():
    """FastStream and the NATS client are met in app, handlers and adapters alone; what decides is free of them (house style)."""
    pure = [*modules(ROOT / "workers/common/decision"), *modules(ROOT / "schemas")]
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in pure
        for name in imported(path)
        if name.partition(".")[0] in {"faststream", "nats", "structlog", "asyncio"}
    ]
    assert wrong == []
