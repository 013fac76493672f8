"""Asks the edge, as any monitor would: it alone may ask every worker how it is."""

from __future__ import annotations

import asyncio
import json
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any

from config.settings import Settings
from workers.cli.exits import Exit, Stop

TIMEOUT_S = 6.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a listener on every address is asked from here


async def readiness(settings: Settings) -> dict[str, Any]:
    """What `/readyz` says.  Ends the command where there is no edge."""
    try:
        return await asyncio.to_thread(_ask, settings)
    except (OSError, HTTPException, ValueError) as error:
        raise Stop(
            Exit.UNREACHABLE, "unreachable", f"no edge at {settings.edge_host}:{settings.edge_port}: {type(error).__name__}"
        ) from None


def _ask(settings: Settings) -> dict[str, Any]:
    host = EVERYWHERE.get(settings.edge_host, settings.edge_host)
    if settings.edge_cert is None:
        connection = HTTPConnection(host, settings.edge_port, timeout=TIMEOUT_S)
    else:
        context = ssl.create_default_context(cafile=settings.tls_ca)
        connection = HTTPSConnection(host, settings.edge_port, timeout=TIMEOUT_S, context=context)
    try:
        connection.request("GET", "/readyz")
        found: dict[str, Any] = json.loads(connection.getresponse().read(1_000_000))
    finally:
        connection.close()
    return found
