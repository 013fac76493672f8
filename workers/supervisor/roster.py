"""The workers by name.  The only place that knows them all; each is found by its name, imported when it is started."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from faststream import FastStream

from config.settings import Settings

# In the order they stop, reversed: who faces the outside goes first, who takes things back goes last.
WORKERS = ("revocation", "registry", "signals", "audit", "broker", "gateway", "admission", "egress", "edge")

ISSUER = "issuer"  # the development trust domain's; in production SPIRE stands here

Build = Callable[[Settings], FastStream]


def build_of(worker: str) -> Build:
    """`workers.<worker>.app.build`.  Raises KeyError for a name that is no worker."""
    if worker not in WORKERS and worker != ISSUER:
        raise KeyError(worker)
    return cast(Build, import_module(f"workers.{worker}.app").build)
