"""How the broker reaches other servers: HTTP to checked addresses, client certificates from its own folder, its SVID from the Workload API
that SPIFFE_ENDPOINT_SOCKET names, else from the development issuer's.

The broker sends these requests itself and not through the edge: what is asked and answered are credentials, and the edge faces networks.
"""

from __future__ import annotations

import os
import ssl

from weft.errors import Unavailable
from weft.identity import WorkloadAPI

from config.settings import Settings
from schemas.facts import AuthorizationServer
from streams.secretfile import LooseSecret, read_secret
from workers.broker.authservers.ports import HTTP, NoWay
from workers.common.outbound import Outbound, Rules

FOLDER = "clients"  # of the state folder: <name>.crt and <name>.key, PEM, both 0600


class BrokersWays:
    """One pool of connections without a certificate, and one for each certificate."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rules = Rules.of(settings.outbound_private.servers)
        self._pools: dict[str | None, Outbound] = {}

    def http(self, server: AuthorizationServer) -> HTTP:
        """See ports.Ways."""
        name = server.certificate if server.auth == "tls_client_auth" else None
        pool = self._pools.get(name)
        if pool is None:
            context = None if name is None else self._context(name)
            pool = self._pools[name] = Outbound(self._rules, ca=self._settings.outbound_ca, context=context)
        return pool

    async def svid(self, audience: str) -> str:
        """See ports.Ways."""
        socket = self._settings.workload_api or self._settings.state / "issuer" / "api.sock"
        try:
            return await WorkloadAPI(os.environ.get("SPIFFE_ENDPOINT_SOCKET", f"unix://{socket.absolute()}"))(audience)
        except Unavailable as error:
            raise NoWay(str(error)) from None

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()

    def _context(self, name: str) -> ssl.SSLContext:
        folder = self._settings.state / FOLDER
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        context = ssl.create_default_context()
        try:
            read_secret(key)
            if self._settings.outbound_ca is not None:
                context.load_verify_locations(cafile=self._settings.outbound_ca)
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError, LooseSecret):
            raise NoWay("the broker has no usable client certificate of that name") from None
        return context
