"""The OAuth face on a real server: registry, broker, revocation and edge, and the clients of the small world as they speak to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from config.limits import EdgeLimits, OAuthLimits, Rate
from tests.support.facts import body as fact_body
from tests.support.invoking import Invoking
from tests.support.oauth import OAuthWorld
from workers.common.clock import SystemClock
from workers.supervisor.waiting import free_port

_MUCH = Rate(rate_per_s=100_000, burst=1_000_000)
UNLIMITED = {
    "edge_limits": EdgeLimits(rate_per_s=100_000, burst=1_000_000, connections_each=256),
    "oauth_limits": OAuthLimits(token=_MUCH, introspect=_MUCH, revoke=_MUCH, address=_MUCH),
}
WORKERS = ("registry", "revocation", "broker", "edge")


class Clients(OAuthWorld):
    """The clients of the small world, as they speak to a real edge."""

    def __init__(self, issuer: str) -> None:
        super().__init__(issuer)
        self.clock = SystemClock()  # type: ignore[assignment]

    def bodies(self) -> list[Any]:
        """Its facts, but for the token key, which the real fabric has of its own."""
        return [fact_body(plain) for plain in self._facts() if not (plain["kind"] == "key" and plain["purpose"] == "tokens")]


@asynccontextmanager
async def fabric(
    server: Any, also: Callable[[Clients], Iterable[dict[str, Any]]] = lambda _: (), /, **settings: Any
) -> AsyncIterator[tuple[Clients, httpx.AsyncClient, Invoking]]:
    """`also`: facts that are there before anything starts."""
    issuer = f"http://127.0.0.1:{free_port()}"
    server.settings = server.settings.model_copy(update={"issuer": issuer, "edge_port": int(issuer.rpartition(":")[2]), **settings})
    made, invoking = Clients(issuer), Invoking(server)
    await server.put_facts(*made.bodies(), *map(fact_body, also(made)))
    async with invoking.workers(*WORKERS), httpx.AsyncClient(base_url=issuer, timeout=10) as http:
        yield made, http, invoking
