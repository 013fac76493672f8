"""Action receipts back to the transmitter that asked for them: signed, matched to its SET, until it has them."""

from __future__ import annotations

import jwt

from config.settings import OutboundPrivate
from schemas.facts import TransmitterCeiling
from tests.integration.test_signals import POLICY, RISK, Fabric, a_set, admit, eventually, transmitter
from tests.support.fabric import FabricServer
from tests.support.receiving import Sink
from tests.support.workers import running
from workers.edge import app as edge
from workers.revocation.app import build as revocation
from workers.signals.app import build
from workers.supervisor.waiting import free_port

CEILING = TransmitterCeiling(namespaces=("spiffe://88mph.com/agents",), strongest="quarantine")


async def test_a_transmitter_is_sent_both_receipts_until_it_has_them(fabric_server: FabricServer) -> None:
    """INVARIANT: a receipt says what was done about which SET, by our signature, and nothing that is ours alone.

    Sending the record's event instead of the receipt would break it.
    """
    settings = fabric_server.settings.model_copy(
        update={"edge_port": free_port(), "outbound_private": OutboundPrivate(transmitters=("127.0.0.0/8",))}
    )
    fabric = Fabric(fabric_server)
    async with Sink().open() as sink:
        busy = [503, 429]
        sink.answer = lambda _: (busy.pop(0), {}, b"") if busy else (202, {}, b"")
        asks = transmitter().model_copy(update={"receipts": True, "receipts_endpoint": sink.url, "ceiling": CEILING})
        await fabric.start(asks, POLICY)
        await admit(fabric_server)
        async with running(edge.build, settings), running(revocation, settings), running(build, settings):
            sent = a_set("HIGH")
            assert (await fabric.send(sent))["accepted"]
            got = [await sink.got.get() for _ in range(4)]
    jti = jwt.decode(sent, options={"verify_signature": False, "verify_aud": False})["jti"]
    assert {one.headers["content-type"] for one in got} == {"application/weft-receipt+jwt"}
    key = fabric_server.keys["signals"].private.public_key()
    told = {one.body: jwt.decode(one.body, key, algorithms=["ES256"], options={"verify_aud": False}) for one in got}
    assert len(told) == 2, "what was answered 503 and 429 came again, the same"
    assert {jwt.get_unverified_header(body)["typ"] for body in told} == {"weft-receipt+jwt"}
    said = [str(claims) for claims in told.values()]
    assert all(jti in one for one in said)
    assert any("quarantine" in one for one in said)
    assert any("contained" in one for one in said)


async def test_who_asked_for_none_is_sent_none(fabric_server: FabricServer) -> None:
    settings = fabric_server.settings.model_copy(
        update={"edge_port": free_port(), "outbound_private": OutboundPrivate(transmitters=("127.0.0.0/8",))}
    )
    fabric = Fabric(fabric_server)
    async with Sink().open() as sink:
        await fabric.start(transmitter().model_copy(update={"receipts_endpoint": sink.url}), POLICY)
        await admit(fabric_server)
        async with running(edge.build, settings), running(revocation, settings), running(build, settings) as app:
            await fabric.send(a_set("HIGH", signer=RISK))
            await fabric.responded()

            async def all_read() -> bool:
                info = await app.runtime.nc.jetstream().consumer_info("RECORD", "return-receipts")
                return bool(info.num_pending == 0 and info.num_ack_pending == 0)

            await eventually(all_read)
        assert sink.got.empty()
