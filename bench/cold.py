"""A guard that starts: how long until its view is current, by the stream and by a signed snapshot, and what a look-up costs then."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nats.aio.client import Client
from nats.aio.msg import Msg
from weft.claims import VerifiedToken
from weft.digest import canonical, target_digest
from weft.follower import FetchSnapshot, RevocationFollower
from weft.point import Point
from weft.revocation import RevocationView
from weft.snapshot import Manifest, Row
from weft.token import verify_token

from bench.figures import Figure, percentile
from schemas.revocation import BEACON, BEACON_TYP, ENTRY, ENTRY_TYP, Signed, Target
from schemas.snapshot import ANSWERED, SnapshotAsked
from streams.bus import event, parse
from streams.subjects import REVOCATION_BEACON, REVOCATION_ENTRY, SNAPSHOT
from tests.support import fabric
from tests.support.signed import ISSUER, NOW, TokenKey, claims
from workers.common.clock import SystemClock
from workers.revocation import ledger
from workers.revocation.signing import KeySigner
from workers.revocation.snapshots import Snapshots

STREAMED = 5_000  # entries that are loaded and verified one by one
SNAPSHOT_ROWS = 100_000
FLIGHT = 256
POINT = f"i{'c4' * 13}.88mph~com.tools.payments"


async def figures(streamed: int = STREAMED, rows: int = SNAPSHOT_ROWS) -> list[Figure]:
    """The rows."""
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
        server = await fabric.start(Path(folder) / "state")
        try:
            head = await fill(server, streamed)
            by_stream, follower = await _timed(server, None)
            if follower.view.counter != streamed:
                raise RuntimeError("the guard has not loaded everything")
            await follower.stop()
            await serve(server, head, rows)
            by_snapshot, follower = await _timed(server, await _fetch(server))
            if len(follower.view.rows()) != rows:
                raise RuntimeError("the guard has not loaded the snapshot")
            await follower.stop()
            return [
                Figure(f"cold guard, {streamed} entries of the stream", round(by_stream, 2), "s"),
                Figure(f"cold guard, {rows} entries of a snapshot", round(by_snapshot, 2), "s"),
                *look_ups(follower.view),
            ]
        finally:
            await server.close()


async def _timed(server: fabric.FabricServer, snapshot: FetchSnapshot | None) -> tuple[float, RevocationFollower]:
    nc, raw, kid = await server.outer("point", POINT), *_public(server)

    async def acknowledge(_: int, __: int) -> None:
        return None

    started = time.perf_counter()
    follower = RevocationFollower(
        nc, {kid: raw}.get, on_entry=lambda: None, on_unknown_key=lambda: None, send_ack=acknowledge, snapshot=snapshot
    )
    await follower.start()
    return time.perf_counter() - started, follower


async def _fetch(server: fabric.FabricServer) -> FetchSnapshot:
    """As a guard asks, over a bare client."""
    nc = await server.outer("point", POINT)

    class Bare:
        source, name = "/bench", POINT

        async def request(self, subject: str, body: bytes, timeout_s: float) -> bytes:
            return (await nc.request(subject, body, timeout=timeout_s, headers={"Content-Type": "application/cloudevents+json"})).data

    return Point(Bare()).snapshot  # type: ignore[arg-type]


def _public(server: fabric.FabricServer) -> tuple[bytes, str]:
    key = server.keys["revocation"]
    return key.private.public_key().public_bytes_raw(), key.kid  # type: ignore[union-attr]


def _signer(server: fabric.FabricServer) -> KeySigner:
    key = server.keys["revocation"]
    if not isinstance(key.private, Ed25519PrivateKey):
        raise TypeError("not the revocation key")
    return KeySigner(key.private, key.kid)


async def fill(server: fabric.FabricServer, entries: int) -> ledger.Head:
    """REVOCATIONS as a writer would have filled it, signed and chained; `FLIGHT` publishes at once."""
    nc, signer, head, now = await server.worker("revocation"), _signer(server), ledger.Head(epoch=1), int(time.time())
    room, inbox = asyncio.Semaphore(FLIGHT), nc.new_inbox()

    async def on_ack(_: Msg) -> None:
        room.release()

    await nc.subscribe(inbox, cb=on_ack)
    for number in range(entries):
        target = Target(kind="token", digest=target_digest("token", str(number)))
        jws = signer.sign(ledger.next_entry(head, [target], at=now), ENTRY_TYP)
        head = ledger.after_entry(head, jws, number + 1)
        await room.acquire()
        await nc.publish(REVOCATION_ENTRY.at(), event(ENTRY, Signed(jws=jws), source="/bench"), reply=inbox)
    for _ in range(FLIGHT):
        await room.acquire()
    await beat(nc, signer, head)
    return head


async def beat(nc: Client, signer: KeySigner, head: ledger.Head) -> None:
    """A beacon of now: what makes a loaded view current."""
    beacon = signer.sign(ledger.next_beacon(head, at=time.time(), facts=1), BEACON_TYP)
    await nc.request(REVOCATION_BEACON.at(), event(BEACON, Signed(jws=beacon), source="/bench"), timeout=5)


async def serve(server: fabric.FabricServer, head: ledger.Head, rows: int) -> None:
    """`weft.snapshot`, by the worker's own code, of a view that holds so many targets at that head."""
    nc, signer, (raw, kid) = await server.worker("revocation"), _signer(server), _public(server)
    view, now = RevocationView({kid: raw}.get), int(time.time())
    manifest = Manifest(head.n, head.digest, head.epoch, head.n, 0, (), "")
    view.load(manifest, [Row(target_digest("token", f"s{number}"), 1 + number % head.n, now, is_key=False) for number in range(rows)])
    view.apply_beacon(signer.sign(ledger.next_beacon(head, at=time.time(), facts=1), BEACON_TYP))
    snapshots = Snapshots(view, lambda: head.n, lambda said, typ: signer.sign_bytes(canonical(said), typ), SystemClock())

    async def on_asked(msg: Msg) -> None:
        answer = await snapshots.answer(parse(SnapshotAsked, msg.data).data)
        if answer is not None:
            await nc.publish(msg.reply, event(ANSWERED, answer, source="/bench"))

    await nc.subscribe(SNAPSHOT.filter, cb=on_asked)
    await beat(nc, signer, head)


def look_ups(view: RevocationView, rounds: int = 20_000) -> list[Figure]:
    """Of a token that nothing hits, with a chain of two: the longest way through.  A token's digests are made once."""
    key = TokenKey()
    past = [{"sub": "spiffe://88mph.com/agents/a", "instance": "i" + "a" * 26, "jti": f"p{n}", "tool": "t", "iat": NOW} for n in range(2)]
    token = verify_token(key.sign(claims(act_chain=past)), {key.kid: key.public}, issuer=ISSUER, audiences=["88mph.com"], now=NOW)
    fresh = [replace(token, jti=str(n)) for n in range(2000)]
    first, again = _us(view.revoked, fresh), _us(view.revoked, [token] * rounds)
    return [
        Figure("revocation look-up", round(again, 2), "µs"),
        Figure("revocation look-up, with the digests of a new token", round(first, 2), "µs"),
    ]


def _us(look: Callable[[VerifiedToken], Any], tokens: Iterable[VerifiedToken]) -> float:
    taken = []
    for token in tokens:
        started = time.perf_counter()
        look(token)
        taken.append(time.perf_counter() - started)
    return percentile(sorted(taken), 0.5) * 1e6
