"""A receiver of signals, and the fabric that transmits them: the edge on a real port, `signals` and `revocation` behind a real server."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
from nats.aio.client import Client
from weft.nkey import KeyPair

from config.settings import OutboundPrivate
from schemas.commands import FAILED
from schemas.facts import Client as OAuthClient
from schemas.facts import Grant, Person
from schemas.ssf import STREAMS, StreamsCommand
from streams import subjects
from streams.bus import event
from tests.support import fabric
from tests.support.fabric import FabricServer
from tests.support.identities import Signer
from tests.support.workers import running
from workers.edge import app as edge
from workers.revocation import app as revocation
from workers.signals import app as signals
from workers.supervisor.certificates import Authority, Place
from workers.supervisor.waiting import free_port

PUSH, POLL = "urn:ietf:rfc:8935", "urn:ietf:rfc:8936"
ROOT = "spiffe://88mph.com"
DOC = KeyPair("U")
CLIENT_KEY = Signer(kid="client-1")
RECEIVER, STRANGER = "receiver", "stranger"


@dataclass
class Pushed:
    """One request that a receiver got."""

    headers: dict[str, str]
    body: str


class Sink:
    """A receiver's push endpoint.  `answer` says what it answers with: status line and body."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[Pushed] = asyncio.Queue()
        self.answer: Callable[[Pushed], tuple[int, dict[str, str], bytes]] = lambda _: (202, {}, b"")
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Sink]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/push"
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
            pushed = Pushed(headers | {":request": head[0]}, (await reader.readexactly(int(headers["content-length"]))).decode())
            status, more, body = self.answer(pushed)
            lines = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}", "connection: close", *(f"{k}: {v}" for k, v in more.items())]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            await writer.drain()
            self.got.put_nowait(pushed)
        except (OSError, EOFError):
            return
        finally:
            writer.close()

    async def next(self, within_s: float = 10.0) -> Pushed:
        """The next request."""
        async with asyncio.timeout(within_s):
            return await self.got.get()

    async def nothing(self, for_s: float) -> None:
        """Nothing comes within that time."""
        try:
            async with asyncio.timeout(for_s):
                pushed = await self.got.get()
        except TimeoutError:
            return
        raise AssertionError(f"a push came: {pushed.headers[':request']}")


@dataclass
class Stage:
    """What a test works with."""

    server: FabricServer
    http: httpx.AsyncClient
    base: str
    person: Client
    metadata: dict[str, Any] = field(default_factory=dict)
    copies: list[AsyncExitStack] = field(default_factory=list)  # of the signals worker, in the order they were started
    views: list[Any] = field(default_factory=list)  # their facts views

    async def start_signals(self) -> None:
        """One more copy of the worker."""
        copy = AsyncExitStack()
        self.copies.append(copy)
        app = await copy.enter_async_context(running(signals.build, self.server.settings))
        await app.runtime.wait_current()
        self.views.append(app.runtime.facts)

    async def server_has(self, revision: int) -> None:
        """Every copy's view has reached this revision of the facts."""
        for view in self.views:
            assert await view.wait_for(revision, 5)

    async def stop_signals(self) -> None:
        """All copies end, as they do when they are told to."""
        self.views.clear()
        while self.copies:
            await self.copies.pop().aclose()

    def token(self, scope: str = "ssf.manage ssf.read", client_id: str = RECEIVER, **changes: Any) -> str:
        """An access token of ours (RFC 9068)."""
        now = int(time.time())
        issuer = self.server.settings.issuer
        claims = {
            "iss": issuer, "aud": issuer, "sub": client_id, "client_id": client_id, "iat": now, "exp": now + 300,
            "jti": uuid.uuid4().hex, "txn": uuid.uuid4().hex, "scope": scope, "rev": 0, "facts": 0, **changes,
        }  # fmt: skip
        key = self.server.keys["tokens"]
        return jwt.encode(claims, key.private, "ES256", {"typ": "at+jwt", "kid": key.kid})

    async def ask(self, method: str, url: str, token: str | None = "", **options: Any) -> httpx.Response:
        """With a manager's token unless another, or none, is given."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["authorization"] = f"Bearer {token or self.token()}"
        answer = await self.http.request(method, url, headers=headers, **options)
        if "configuration" not in url and "jwks" not in url:
            assert answer.headers["cache-control"] == "no-store"
        return answer

    async def create(self, delivery: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
        """A stream, as the transmitter describes it."""
        body = members if delivery is None else {"delivery": delivery, **members}
        answer = await self.ask("POST", self.metadata["configuration_endpoint"], json=body)
        assert answer.status_code == 201, answer.text
        described: dict[str, Any] = answer.json()
        return described

    async def delete(self, stream: dict[str, Any]) -> None:
        """It ends."""
        answer = await self.ask("DELETE", self.metadata["configuration_endpoint"], params={"stream_id": stream["stream_id"]})
        assert (answer.status_code, answer.content) == (204, b"")

    async def status(self, stream: dict[str, Any], status: str) -> None:
        """It gets this status."""
        body = {"stream_id": stream["stream_id"], "status": status, "reason": "test"}
        answer = await self.ask("POST", self.metadata["status_endpoint"], json=body)
        assert (answer.status_code, answer.json()) == (200, body)

    async def verify(self, stream: dict[str, Any], state: str | None = None) -> httpx.Response:
        """A verification event is asked for."""
        body = {"stream_id": stream["stream_id"], **({} if state is None else {"state": state})}
        return await self.ask("POST", self.metadata["verification_endpoint"], json=body)

    async def poll(self, stream: dict[str, Any], token: str | None = "", **members: Any) -> httpx.Response:
        """One poll, that does not wait unless it is told to."""
        body = {"returnImmediately": True, **members}
        return await self.ask("POST", stream["delivery"]["endpoint_url"], token, json=body, timeout=40)

    async def decode(self, stream: dict[str, Any], compact: str) -> dict[str, Any]:
        """What every SET has to be, checked by another implementation; its claims."""
        keys = jwt.PyJWKSet.from_dict((await self.ask("GET", self.metadata["jwks_uri"], None)).json())
        header = jwt.get_unverified_header(compact)
        assert header["typ"] == "secevent+jwt"
        key = keys[header["kid"]]
        claims: dict[str, Any] = jwt.decode(
            compact,
            key,
            [header["alg"]],
            audience=stream["aud"],
            issuer=self.metadata["issuer"],
            options={"require": ["iat", "jti", "iss"]},
        )
        assert not {"sub", "exp"} & claims.keys()
        assert claims["iat"] <= time.time() + 1
        assert len(claims["events"]) == 1
        assert claims["txn"]
        return claims

    async def command(self, **members: Any) -> dict[str, Any]:
        """What an operator asks; the answer's data, or the failure's."""
        question = event(STREAMS, StreamsCommand(**members), source="/test")
        answer: dict[str, Any] = json.loads((await self.person.request(subjects.STREAMS.at(DOC.public), question, timeout=8)).data)
        return {"failed": answer["type"] == FAILED, **answer["data"]}

    async def messages(self, stream: str) -> list[bytes]:
        """Everything that a stream holds, headers and subjects left out."""
        nc = await self.server.worker("topology", **fabric.fabric_key(self.server.settings))
        state = (await nc.jetstream().stream_info(stream)).state
        found = []
        for seq in range(state.first_seq, state.last_seq + 1):
            got = await nc.request(f"$JS.API.DIRECT.GET.{stream}", json.dumps({"seq": seq}).encode(), timeout=5)
            found.append(got.data)
        await nc.close()
        return found


def clients() -> list[OAuthClient]:
    """Two receivers: one may hear of everyone, one of its own namespace."""
    common: dict[str, Any] = {
        "owner": "ops", "auth_method": "private_key_jwt", "jwks": {"keys": [CLIENT_KEY.jwk]},
        "grant_types": ("client_credentials",), "scopes": ("ssf.*",),
    }  # fmt: skip
    return [
        OAuthClient(client_id=RECEIVER, hears=(ROOT,), **common),
        OAuthClient(client_id=STRANGER, hears=(f"{ROOT}/agents/theirs",), **common),
    ]


@asynccontextmanager
async def stage(folder: Path, *more: Callable[[Any], Any], **settings: Any) -> AsyncIterator[Stage]:
    """Everything running; `more`: workers besides."""
    authority, place = Authority("test"), Place(folder / "cert.pem", folder / "key.pem")
    authority.issue(place, ("127.0.0.1",))
    (folder / "ca.pem").write_bytes(authority.pem)
    port = free_port()
    async with AsyncExitStack() as stack:
        server = await fabric.start(folder / "state")
        stack.push_async_callback(server.close)
        placed = {
            "edge_port": port, "edge_cert": place.cert, "edge_key": place.key, "ssf_issuer": f"https://127.0.0.1:{port}/tenant/",
            "outbound_private": OutboundPrivate(receivers=("127.0.0.0/8",), transmitters=("127.0.0.0/8",)),
            "ssf_min_verification_interval_s": 1, **settings,
        }  # fmt: skip
        server.settings = server.settings.model_copy(update=placed)
        doc = Person(nkey=DOC.public, name="doc", roles=(Grant(role="revoker", namespace=ROOT),))
        await server.put_facts(*clients(), doc)
        for build in (revocation.build, *more, edge.build):
            app = await stack.enter_async_context(running(build, server.settings))
            await app.runtime.wait_current()
        trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        http = await stack.enter_async_context(httpx.AsyncClient(verify=trust, timeout=15))
        person = await server.outer("operator", DOC.public, DOC)
        made = Stage(server, http, f"https://127.0.0.1:{port}", person)
        stack.push_async_callback(made.stop_signals)
        await made.start_signals()
        made.metadata = (await made.ask("GET", f"{made.base}/.well-known/ssf-configuration/tenant", None)).json()
        yield made
