"""A real nats-server in operator mode with the topology applied, and clients of every kind without the workers that admit them.

What admission does at run time `tests.support.callout` does by hand: `outer` is placed by a user JWT signed with the account's scoped
key, so the template of that key, and not the test, decides what the client may do.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from weft.lean import LeanClient
from weft.nkey import KeyPair

from config.settings import Settings
from schemas.facts import FACT, Fact, FactBody, Key, Kind
from streams import access, keys, natsjwt, operator, subjects, tokenkeys, topology
from streams.bus import Outgoing, PubAck, Publisher, connect_options, event
from streams.facts_keys import key_of, subject_of
from streams.server import Server
from tests.support.callout import StandIn


@dataclass
class FabricServer:
    """`settings` and `url` are what a worker gets; clients made here are closed with the fixture."""

    settings: Settings
    server: Server
    keys: dict[str, keys.SigningKey] = field(default_factory=dict)
    _clients: list[Client] = field(default_factory=list)
    _callout: StandIn | None = None

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def accounts(self) -> dict[str, str]:
        return operator.accounts(self.settings)

    @property
    def callout(self) -> StandIn:
        """What admits outer connections; there from the first `outer` on."""
        assert self._callout is not None
        return self._callout

    async def worker(self, name: str, **options: Any) -> Client:
        """A bare client with that credential."""
        return await self._connect(**{**connect_options(name, self.settings), "allow_reconnect": False, "error_cb": _ignore, **options})

    async def outer(self, kind: str, name: str, /, keypair: KeyPair | None = None, **options: Any) -> Client:
        """An agent, a point or an operator of this name, as if admission had admitted it."""
        if self._callout is None:
            self._callout = await StandIn.start(await self.worker("admission-auth"), operator.admission_keys(self.settings))
        own: dict[str, Any] = {
            "nkeys_seed_str": (keypair or KeyPair("U")).seed,
            "token": f"{kind} {name}",
            "inbox_prefix": subjects.inbox_of(name),
            "connect_timeout": 5,
        }
        return await self._connect(servers=[self.url], **{**own, "name": "test", "allow_reconnect": False, "error_cb": _ignore, **options})

    async def put_facts(self, *bodies: FactBody, by: str = "bootstrap") -> PubAck:
        """Write facts, as one batch, whatever was there before; the acknowledgement is the last one's."""
        nc = await self.worker("topology", **fabric_key(self.settings))
        outgoing = [_fact_message(body, by) for body in bodies]
        ack = await Publisher(nc).publish_batch("FACTS", outgoing)
        await nc.close()
        return ack

    async def delete_fact(self, kind: Kind | str, key: str) -> PubAck:
        """As `put_facts`."""
        nc = await self.worker("topology", **fabric_key(self.settings))
        gone = event(FACT, Fact(kind=Kind(kind), key=key, by="bootstrap"), source="/test")
        ack = await Publisher(nc).publish_batch(
            "FACTS", [Outgoing(subject_of(Kind(kind), key), gone, msg_id=f"test:{KeyPair('U').public}")]
        )
        await nc.close()
        return ack

    async def close(self) -> None:
        for nc in self._clients:
            await nc.close()
        await self.server.stop()

    async def _connect(self, **options: Any) -> Client:
        nc = LeanClient()  # what workers and the SDK connect with
        self._clients.append(nc)
        try:
            await nc.connect(**options)
        except BaseException:
            await nc.close()  # nats-py leaves the socket of a refused connection open
            raise
        return nc


async def settled(nc: Client) -> None:
    """The server has read all that this client sent, and the client all that the server said of it.

    Twice, because nats-py writes the first PING ahead of what it still holds back.
    """
    await nc.flush()
    await nc.flush()


def key_fact(settings: Settings, purpose: str, key: keys.SigningKey) -> Key:
    """The public half, as the fact that the bootstrap writes."""
    assurance = "development" if purpose == "svid" else "production"
    return Key.model_validate(
        {"purpose": purpose, "kid": key.kid, "jwk": key.jwk, "trust_domain": settings.trust_domain, "assurance": assurance}
    )


async def start(state: Path, **settings: Any) -> FabricServer:
    """A fresh fabric in this folder: operator, server, topology, the facts of its four keys."""
    first = Settings(state=state, servers=("nats://127.0.0.1:4222",), **settings)
    files = operator.create_operator(state, first)
    server = Server(files.server_conf)
    await server.start()
    fabric = FabricServer(first.model_copy(update={"servers": (server.url,)}), server)
    nc = await fabric.worker("topology")
    await topology.apply(nc.jetstream(), first.replicas, record_max_bytes=first.record_max_bytes)
    await nc.close()
    fabric.keys = {"tokens": tokenkeys.first(first), **{purpose: keys.load_or_create(first, purpose) for purpose in keys.PURPOSES}}
    await fabric.put_facts(*(key_fact(first, purpose, key) for purpose, key in fabric.keys.items()))
    return fabric


def _fact_message(body: FactBody, by: str) -> Outgoing:
    key = key_of(body)
    fact = Fact(kind=body.kind, key=key, body=body, by=by)
    return Outgoing(subject_of(body.kind, key), event(FACT, fact, source="/weft/bootstrap"), msg_id=f"bootstrap:{KeyPair('U').public}")


def fabric_key(settings: Settings) -> dict[str, Any]:
    """FABRIC's own key, to write what several workers share between them."""
    account = KeyPair.from_seed((settings.keys / "operator" / "fabric.seed").read_text().strip())
    pair = KeyPair("U")
    nats_claims = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, **access.Permissions((">",), (">",)).claims()}
    jwt = natsjwt.encode({"sub": pair.public, "name": "bootstrap", "nats": nats_claims}, account)
    return {
        "user_credentials": None,
        "user_jwt_cb": lambda: bytearray(jwt.encode()),
        "signature_cb": lambda nonce: base64.b64encode(pair.sign(nonce.encode())),
    }


async def _ignore(_: Exception) -> None:
    """Errors are asserted where they matter."""
