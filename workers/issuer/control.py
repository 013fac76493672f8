"""The private socket of `weft agent run`: one line of JSON in, one out.  Who asks is what the kernel says, never what the line says."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field, ValidationError

from schemas.base import SpiffeIDText, Wire
from workers.issuer.issuer import Issuer, NoIdentity
from workers.issuer.kernel import NotAttested, Peer
from workers.issuer.registered import Launch

MAX_LINE_BYTES = 65_536
DEADLINE_S = 5.0


class LaunchRequest(Wire):
    """The calling process will execute `argv`, and wants to be that workload from then on."""

    spiffe_id: SpiffeIDText
    argv: Annotated[tuple[str, ...], Field(min_length=1, max_length=1024)]


class LaunchAnswer(Wire):
    """One of the two."""

    instance: str | None = None
    refused: str | None = None


class ControlServer:
    """Serves until `stop`."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._server: asyncio.Server | None = None

    async def start(self, path: str) -> None:
        """Raises OSError."""
        self._server = await asyncio.start_unix_server(self._serve, path, limit=MAX_LINE_BYTES)

    async def stop(self) -> None:
        """Idempotent.  Whoever is being answered has at most `DEADLINE_S` anyway."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                writer.write((await self._answer(reader, writer)).wire() + b"\n")
                await writer.drain()
        except (TimeoutError, OSError):
            pass  # it left, or it said nothing in time: there is nobody to answer
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> LaunchAnswer:
        try:
            peer = Peer(writer.get_extra_info("socket"))
        except NotAttested as error:
            return LaunchAnswer(refused=str(error))
        try:
            request = LaunchRequest.model_validate_json(await reader.readline())
            return LaunchAnswer(instance=await self._issuer.launch(peer, Launch(request.spiffe_id, request.argv)))
        except (ValidationError, ValueError):  # ValueError: the line is too long
            return LaunchAnswer(refused="not a launch request")
        except NoIdentity as error:
            return LaunchAnswer(refused=str(error))
        finally:
            peer.close()
