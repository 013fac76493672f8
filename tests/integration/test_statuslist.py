"""Status lists from the broker's question to a verifier that knows nothing of the bus: real server, real HTTP, two copies of the issuer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from weft.digest import target_digest
from weft.errors import GuardReason
from weft.statuslist import MEDIA_TYPE, Fetched, StatusRefused, StatusVerifier, keys_of

from schemas.revocation import ORDER, Order, Ordered
from schemas.status import Allocated
from streams import subjects
from streams.bus import Publisher, event, parse
from tests.support.fabric import FabricServer
from tests.support.workers import running
from workers.broker.status import BusStatuses
from workers.edge.app import build as edge
from workers.registry.app import build as registry
from workers.revocation.app import build as revocation
from workers.revocation.status import NATSAllocations
from workers.revocation.statuslists import Entries
from workers.supervisor.waiting import free_port


@pytest.fixture
async def base(fabric_server: FabricServer) -> AsyncIterator[str]:
    """The edge, whose address is the issuer's, the registry, and two copies of `revocation` with a writer among them."""
    port = free_port()
    settings = fabric_server.settings.model_copy(update={"edge_port": port, "issuer": f"http://127.0.0.1:{port}"})
    fabric_server.settings = settings
    async with AsyncExitStack() as stack:
        for build in (registry, revocation, revocation, edge):
            await stack.enter_async_context(running(build, settings))
        yield settings.issuer


def token(jti: str) -> Allocated:
    return Allocated(targets=(target_digest("token", jti), target_digest("user", "marty")), rev=0, exp=int(time.time()) + 60)


async def revoke(fabric: FabricServer, jti: str) -> None:
    nc = await fabric.worker("signals")
    order = Order(id=jti, targets=(("token", jti),), cause="test", by="test")
    assert parse(Ordered, (await nc.request(subjects.ORDER.at(), event(ORDER, order, source="/test"), timeout=5)).data).data.n


async def test_a_verifier_off_the_bus_refuses_what_was_revoked(fabric_server: FabricServer, base: str) -> None:
    """INVARIANT: what is revoked reads INVALID over HTTP, whichever copy gave the entry and whichever signs the list.

    Broken by lists that a copy keeps to itself, by an entry given twice, or by an edge that goes on serving what it once had.
    """
    statuses = BusStatuses(await fabric_server.worker("broker"))
    given = await asyncio.gather(*(statuses.allocate(token(f"j{n}")) for n in range(40)))
    assert len({(one.uri, one.idx) for one in given}) == 40
    async with httpx.AsyncClient(timeout=10, follow_redirects=False) as http:

        async def fetch(uri: str, etag: str | None) -> Fetched:
            headers = {"accept": MEDIA_TYPE, **({"if-none-match": etag} if etag else {})}
            answer = await http.get(uri, headers=headers)
            return Fetched(answer.status_code, answer.headers.get("content-type", ""), answer.text, answer.headers.get("etag"))

        async def ready() -> None:
            async with asyncio.timeout(15):
                while (await http.get(given[0].uri)).status_code != 200:  # noqa: ASYNC110 - HTTP has no event to wait for
                    await asyncio.sleep(0.2)

        await ready()
        keys = keys_of((await http.get(f"{base}/status/jwks.json")).json())
        tokens = (await http.get(f"{base}/.well-known/jwks.json")).json()
        assert keys.keys().isdisjoint(key["kid"] for key in tokens["keys"])  # who believes one does not believe the other
        claims = [{"status": {"status_list": {"idx": one.idx, "uri": one.uri}}} for one in given]
        before = StatusVerifier(fetch, keys, prefix=f"{base}/status/")
        for one in claims:
            await before.check(one)
        await revoke(fabric_server, "j7")

        async def refused() -> list[int]:
            after, found = StatusVerifier(fetch, keys, prefix=f"{base}/status/"), []
            for n, one in enumerate(claims):
                try:
                    await after.check(one)
                except StatusRefused as error:
                    found += [n] if error.reason is GuardReason.REVOKED else [-1]
            return found

        async with asyncio.timeout(5):
            while not (found := await refused()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert found == [7]
        for _ in range(10):  # the other copy may be asked, which signed another text: then there is another ETag
            answer = await http.get(given[0].uri)
            again = await http.get(given[0].uri, headers={"if-none-match": answer.headers["etag"]})
            if again.status_code == 304:
                break
        assert answer.headers["content-type"] == MEDIA_TYPE
        assert "max-age=5" in answer.headers["cache-control"]
        assert (again.status_code, again.content) == (304, b"")
        statuses_of = {path: (await http.get(f"{base}/status/{path}")).status_code for path in ("1", "999999999999", "x", "-1", "1e3")}
        assert statuses_of == dict.fromkeys(statuses_of, 404)
        assert (await http.get(f"{given[0].uri}?time=1")).status_code == 501


async def test_an_entry_is_given_once_in_the_world(fabric_server: FabricServer) -> None:
    """INVARIANT: of all who want one entry, one gets it: CLAIMS decides, and not a copy's memory."""
    nc = await fabric_server.worker("revocation")
    allocations = NATSAllocations(nc, Publisher(nc))
    outcomes = await asyncio.gather(*(allocations.create(7, 5, token(f"j{n}"), 600) for n in range(5)), return_exceptions=True)
    assert sorted(map(str, outcomes)) == ["False"] * 4 + ["True"]
    entries = Entries()
    await allocations.read(7, entries)
    await allocations.read(7, entries)  # from where it stopped
    assert list(entries.held) == [5]
    await allocations.read(8, other := Entries())
    assert other.held == {}
