"""The yardstick: `bench/floor.py` in its `atomic` form, unchanged, on a server with `sync_interval: always`."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

FLOOR = Path(__file__).parent / "floor.py"
CONFIG = 'host: 127.0.0.1\nport: {port}\njetstream {{ store_dir: "{store}", sync_interval: always }}\n'


@dataclass(frozen=True)
class Load:
    """One run: calls a second, and milliseconds."""

    per_s: float
    p50_ms: float
    p99_ms: float


def nats_server() -> str:
    """The binary beside this interpreter."""
    return str(Path(sys.executable).with_name("nats-server"))


@contextmanager
def bare_server() -> Iterator[str]:
    """A plain nats-server; yields its URL."""
    with tempfile.TemporaryDirectory(prefix="weft-floor-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        config = Path(folder) / "server.conf"
        config.write_text(CONFIG.format(port=port, store=folder))
        server = subprocess.Popen([nats_server(), "-c", str(config)], stderr=subprocess.DEVNULL)
        try:
            wait_for_port(port)
            yield f"nats://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def wait_for_port(port: int, within_s: float = 10) -> None:
    """Until something accepts."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
    raise TimeoutError(f"nothing listens on port {port}")


def measure(loads: list[tuple[int, int]]) -> dict[int, Load]:
    """The floor at each (in flight, calls)."""
    with bare_server() as url:
        command = [sys.executable, str(FLOOR), url]
        parts = [subprocess.Popen([*command, "a"]), subprocess.Popen([*command, "b", "atomic"])]
        try:
            time.sleep(1.5)  # floor.py says nothing when it is ready
            return {flight: _load(command, flight, calls) for flight, calls in loads}
        finally:
            for part in parts:
                part.terminate()
                part.wait()


def _load(command: list[str], flight: int, calls: int) -> Load:
    out = subprocess.run([*command, "load", str(flight), str(calls)], capture_output=True, text=True, check=True, timeout=120).stdout
    found = re.search(r"(\d+)/s p50=([\d.]+) p99=([\d.]+)", out)
    if found is None:
        raise ValueError("floor.py printed no figures")
    return Load(float(found[1]), float(found[2]), float(found[3]))
