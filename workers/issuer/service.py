"""Both sockets of the issuer, and where they stand."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from config.settings import Settings, SettingsError
from workers.common.clock import Clock
from workers.common.identity import TrustBundles
from workers.issuer.bundleboard import BundleBoard
from workers.issuer.control import ControlServer
from workers.issuer.issuer import Issuer
from workers.issuer.workload_api import WorkloadAPI, WorkloadServer

MAX_PATH_BYTES = 107  # unix(7), sun_path


def api_socket(settings: Settings) -> Path:
    """Where workloads ask for SVIDs."""
    return (settings.workload_api or settings.state / "issuer" / "api.sock").absolute()


def control_socket(settings: Settings) -> Path:
    """Where `weft agent run` registers."""
    return (settings.state / "issuer" / "control.sock").absolute()


def launches_file(settings: Settings) -> Path:
    """Who was launched, for the issuer alone."""
    return settings.state / "issuer" / "private" / "launches.json"


class IssuerService:
    """Starts and stops both servers.  Anyone on the machine may connect: who they are decides what they get."""

    def __init__(self, issuer: Issuer, board: BundleBoard, bundles: TrustBundles, clock: Clock) -> None:
        self._issuer = issuer
        self._api = WorkloadAPI(issuer, board, bundles, clock)
        self._stack = AsyncExitStack()

    async def start(self, api: Path, control: Path) -> None:
        """Raises SettingsError where a socket cannot stand there."""
        async with AsyncExitStack() as stack:
            stack.callback(self._issuer.close)
            self._issuer.start()
            server = WorkloadServer([self._api])
            await server.start(path=_free(api))
            stack.push_async_callback(_stop_api, server)
            controls = ControlServer(self._issuer)
            await controls.start(_free(control))
            stack.push_async_callback(controls.stop)
            for path in (api, control):
                stack.callback(path.unlink, missing_ok=True)
                path.chmod(0o666)
            self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Idempotent."""
        await self._stack.aclose()


async def _stop_api(server: WorkloadServer) -> None:
    server.close()
    await server.wait_closed()


def _free(path: Path) -> str:
    """The path, with its folder made and a socket that an earlier run left there removed."""
    if len(bytes(path)) > MAX_PATH_BYTES:
        raise SettingsError(f"{path} is too long for a Unix socket ({MAX_PATH_BYTES} bytes); choose a shorter state folder")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    if path.is_socket():
        path.unlink()
    return str(path)
