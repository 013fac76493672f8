"""Admission on a real server, assembled from its own parts; who connects does so as the SDK does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from weft.nkey import KeyPair

from streams.access import OUTER_ACCOUNTS
from streams.bus import Publisher
from streams.facts import FactsView
from streams.operator import admission_keys
from streams.subjects import inbox_of
from tests.support.fabric import FabricServer
from tests.support.identities import TRUST_DOMAIN, svid_claims
from workers.admission.callout import SUBJECT, XKEY_HEADER
from workers.admission.connections import Connections
from workers.admission.cut import Cutter
from workers.admission.decide import Fabric
from workers.admission.recording import AdmissionRecord
from workers.admission.service import Callout, Views
from workers.admission.standing import TableFacts
from workers.common.clock import SystemClock
from workers.common.identity import FactBundles
from workers.common.recorder import Recorder
from workers.common.tasks import Tasks


class Admitting:
    """One admission worker.  `fresh` and `answered` are the test's."""

    def __init__(self, fabric: FabricServer, copy_id: str = "one") -> None:
        self.fabric = fabric
        self.copy_id = copy_id
        self.fresh = True
        self.answered = 0
        self._stack = AsyncExitStack()
        self.view: FactsView
        self.cutter: Cutter
        self.connections: Connections
        self.record: AdmissionRecord

    async def start(self) -> Admitting:
        stack, fabric = self._stack, self.fabric
        nc = await fabric.worker("admission")
        self.view = FactsView(nc, worker="admission")
        await self.view.start()
        stack.push_async_callback(self.view.stop)
        recorder = Recorder(Publisher(nc))
        stack.push_async_callback(recorder.close)
        record = self.record = AdmissionRecord(recorder, SystemClock(), self.copy_id)
        tasks = Tasks(lambda name, error: print(name, repr(error)))
        keys = admission_keys(fabric.settings)
        outer = {name: keys.accounts[name] for name in OUTER_ACCOUNTS}
        self.connections = Connections(await fabric.worker("admission-sys"), outer)
        self.cutter = Cutter(self.connections, self.view, record, tasks.start)
        self.view.on_change(self.cutter.on_change)
        tasks.start(self.cutter.run(), name="cutter")
        views = Views(TableFacts(self.view.table), FactBundles(self.view), lambda _: self.fresh, Fabric(TRUST_DOMAIN, "development"))
        callout = Callout(keys, views, record, SystemClock())

        async def on_request(message: Msg) -> None:
            self.answered += 1
            tasks.start(answer(message), name="callout")

        async def answer(message: Msg) -> None:
            sealed = await callout.answer(message.data, (message.headers or {}).get(XKEY_HEADER, ""))
            assert sealed is not None
            await auth.publish(message.reply, sealed)

        auth = await fabric.worker("admission-auth")
        stack.push_async_callback(tasks.close)
        subscription = await auth.subscribe(SUBJECT, queue="admission", cb=on_request)
        stack.push_async_callback(subscription.unsubscribe)
        await auth.flush()
        return self

    async def stop(self) -> None:
        await self._stack.aclose()

    async def seen(self, revision: int) -> None:
        """The view has this revision."""
        assert await self.view.wait_for(revision, 5)


def svid(fabric: FabricServer, key: KeyPair, *, header: dict[str, Any] | None = None, signer: Any = None, **changes: Any) -> str:
    """By the fabric's own `svid` key, unless told otherwise."""
    import jwt

    own = fabric.keys["svid"]
    claims = svid_claims(key.public, now=time.time(), **changes)
    return jwt.encode(claims, signer or own.private, algorithm="ES256", headers={"kid": own.kid, "typ": "JWT", **(header or {})})


async def connect(fabric: FabricServer, token: str, key: KeyPair | None, name: str = "", **options: Any) -> Client:
    """A connection as an SDK makes it; raises what nats-py raises."""

    async def on_error(error: Exception) -> None:
        errors.put_nowait(str(error).lower())

    errors: asyncio.Queue[str] = options.pop("errors", None) or asyncio.Queue()
    own = {} if key is None else {"nkeys_seed_str": key.seed}
    inbox = inbox_of(name) if name else "_INBOX"
    nc = Client()
    try:
        async with asyncio.timeout(10):
            await nc.connect(
                fabric.url,
                token=token,
                connect_timeout=5,
                allow_reconnect=False,
                error_cb=on_error,
                inbox_prefix=inbox,
                **{**own, **options},
            )
    except BaseException:
        if nc._transport is not None:  # nats-py leaves it open when the server refuses
            nc._transport.close()
            with contextlib.suppress(OSError):
                await nc._transport.wait_closed()
        raise
    fabric._clients.append(nc)
    return nc
