"""A transmitter that is not ours, as the OpenID Foundation's suite plays one, and whatever else a test tells it to do wrong.

One stream per receiver (a second is 409), tokens that expire, a poll that gives what was not acknowledged again.  Plain HTTP on loopback.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx
import jwt
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.events.common import CAEP, SSF
from tests.support.identities import Signer
from workers.supervisor.waiting import free_port

RISK = f"{CAEP}risk-level-change"
PUSH, POLL = "urn:ietf:rfc:8935", "urn:ietf:rfc:8936"


@dataclass
class Emulated:
    """Its state is a test's to read and change."""

    port: int
    signer: Signer = field(default_factory=lambda: Signer(kid="tx-1"))
    aud: str = "https://rx.example"
    stream: dict[str, Any] | None = None
    foreign_iss: str | None = None  # what a stream says instead of its issuer
    cannot: tuple[str, ...] = ()  # methods answered 405
    default_subjects: str = "ALL"
    pushes_verification_first: bool = False  # before it answers; 400 where the push was not acknowledged
    one_each: bool = True  # streams of a receiver
    before: list[dict[str, Any]] = field(default_factory=list)  # its streams but the last, `stream`
    unsolicited: list[int] = field(default_factory=list)  # how verifications at creation were answered
    too_often: int = 0  # how many verifications are answered 429
    scope_is_too_small: bool = False
    keys_are_away: bool = False
    held_poll_s: float = 0.3
    status: str = "enabled"
    tokens: set[str] = field(default_factory=set)
    forms: list[dict[str, str]] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    subjects: list[Any] = field(default_factory=list)
    queue: dict[str, str] = field(default_factory=dict)
    acked: list[str] = field(default_factory=list)
    errors: dict[str, Any] = field(default_factory=dict)
    pushed: list[tuple[int, Any]] = field(default_factory=list)
    happened: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def iss(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until(self, condition: Any, within_s: float = 15) -> None:
        """Until it holds, looked at whenever the receiver did something."""
        async with asyncio.timeout(within_s):
            while not condition():
                self.happened.clear()
                await self.happened.wait()

    def a_set(
        self, event: str = RISK, members: dict[str, Any] | None = None, sub_id: Any = None, signer: Signer | None = None, **changes: Any
    ) -> str:
        now = int(time.time())
        claims = {
            "iss": self.iss, "aud": self.aud, "iat": now, "jti": uuid.uuid4().hex, "txn": "t",
            "sub_id": sub_id or {"format": "uri", "uri": "spiffe://88mph.com/agents/advisor"},
            "events": {event: {"principal": "WORKLOAD", "current_level": "LOW"} if members is None else members}, **changes,
        }  # fmt: skip
        return (signer or self.signer).sign(claims, typ="secevent+jwt")

    def verification(self, state: str | None, stream_id: str | None = None) -> str:
        about = {"format": "opaque", "id": stream_id or (self.stream or {})["stream_id"]}
        return self.a_set(f"{SSF}verification", {} if state is None else {"state": state}, about)

    async def send(self, compact: str, *, authorization: str | None = "own", media: str = "application/secevent+jwt") -> httpx.Response:
        """By push, as the stream says; or queued for a poll."""
        delivery = (self.stream or {})["delivery"]
        headers = {"content-type": media, "accept": "application/json"}
        given = delivery.get("authorization_header") if authorization == "own" else authorization
        if given is not None:
            headers["authorization"] = given
        async with httpx.AsyncClient(timeout=10) as http:
            return await http.post(delivery["endpoint_url"].replace("https://", "http://"), content=compact, headers=headers)

    def offer(self, compact: str) -> str:
        """For the next poll; its jti."""
        jti: str = jwt.decode(compact, options={"verify_signature": False, "verify_aud": False})["jti"]
        self.queue[jti] = compact
        self.happened.set()
        return jti

    # --- HTTP ---------------------------------------------------------------------------------------------------------------

    def app(self) -> Starlette:
        def guarded(handler: Any) -> Any:
            async def handle(request: Request) -> Response:
                self.calls.append((request.method, request.url.path))
                token = request.headers.get("authorization", "").removeprefix("Bearer ")
                try:
                    if token not in self.tokens:
                        return JSONResponse({}, 401, {"www-authenticate": 'Bearer error="invalid_token"'})
                    if self.scope_is_too_small:
                        return JSONResponse({}, 401, {"www-authenticate": 'Bearer error="insufficient_scope", scope="ssf.manage"'})
                    if f"{request.method} {request.url.path}" in self.cannot:
                        return Response(status_code=405)
                    return await handler(request)
                finally:
                    self.happened.set()

            return handle

        return Starlette(
            routes=[
                Route("/.well-known/ssf-configuration", self._metadata),
                Route("/jwks", self._jwks),
                Route("/token", self._token, methods=["POST"]),
                Route("/stream", guarded(self._stream), methods=["GET", "POST", "PATCH", "PUT", "DELETE"]),
                Route("/status", guarded(self._status), methods=["GET", "POST"]),
                Route("/subjects", guarded(self._add), methods=["POST"]),
                Route("/verify", guarded(self._verify), methods=["POST"]),
                Route("/poll", guarded(self._poll), methods=["POST"]),
            ]
        )

    async def _metadata(self, _: Request) -> Response:
        ends = {"configuration": "stream", "status": "status", "add_subject": "subjects", "verification": "verify"}
        return JSONResponse(
            {
                "issuer": self.iss,
                "spec_version": "1_0",
                "jwks_uri": f"{self.iss}/jwks",
                "default_subjects": self.default_subjects,
                **{f"{name}_endpoint": f"{self.iss}/{path}" for name, path in ends.items()},
            }
        )

    async def _jwks(self, _: Request) -> Response:
        self.calls.append(("GET", "/jwks"))
        if self.keys_are_away:
            return Response(status_code=503)
        return JSONResponse({"keys": [self.signer.jwk]})

    async def _token(self, request: Request) -> Response:
        self.forms.append({name: values[0] for name, values in parse_qs((await request.body()).decode()).items()})
        token = uuid.uuid4().hex
        self.tokens.add(token)
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": 3600})

    async def _stream(self, request: Request) -> Response:
        body = json.loads(await request.body() or b"{}")
        match request.method:
            case "GET":
                return JSONResponse([*self.before, *([self.stream] if self.stream else [])])
            case "DELETE":
                self.stream = None
                return Response(status_code=204)
            case "POST" if self.stream is not None and self.one_each:
                return JSONResponse({}, 409)
            case "POST" if body.keys() - {"delivery", "events_requested", "description"}:
                return JSONResponse({"error": "members that are not a receiver's"}, 400)
            case "POST":
                self.before += [self.stream] if self.stream else []
                delivery = body["delivery"]
                if delivery["method"] == POLL:
                    delivery["endpoint_url"] = f"{self.iss}/poll"
                self.stream = {"stream_id": uuid.uuid4().hex, "iss": self.foreign_iss or self.iss, "aud": self.aud, **body}
                self.stream["events_delivered"] = body["events_requested"]
                if self.pushes_verification_first:
                    self.unsolicited.append((await self.send(self.verification(None))).status_code)
                return JSONResponse(self.stream, 201)
            case _:
                self.stream = {**(self.stream or {}), **body, "events_delivered": body["events_requested"]}
                return JSONResponse(self.stream)

    async def _status(self, request: Request) -> Response:
        if request.method == "POST":
            self.status = json.loads(await request.body())["status"]
        return JSONResponse({"stream_id": (self.stream or {})["stream_id"], "status": self.status})

    async def _add(self, request: Request) -> Response:
        self.subjects.append(json.loads(await request.body())["subject"])
        return Response(status_code=200)

    async def _verify(self, request: Request) -> Response:
        asked = json.loads(await request.body())
        if self.too_often > 0:
            self.too_often -= 1
            return JSONResponse({"error": "too_many_requests"}, 429)
        if self.pushes_verification_first and (await self.send(self.verification(asked["state"]))).status_code != 202:
            return JSONResponse({"error": "verification_failed"}, 400)
        self.states.append(asked["state"])
        return Response(status_code=204)

    async def _poll(self, request: Request) -> Response:
        asked = json.loads(await request.body())
        for jti in asked.get("ack", []):
            self.queue.pop(jti, None)
            self.acked.append(jti)
        if "setErrs" in asked:
            assert request.headers["content-language"] == "en"
            for jti, error in asked["setErrs"].items():
                self.queue.pop(jti, None)
                self.errors[jti] = error
        self.happened.set()
        if not self.queue and not asked["returnImmediately"]:
            await asyncio.sleep(self.held_poll_s)
        return JSONResponse(
            {"sets": dict(list(self.queue.items())[: asked["maxEvents"]]), "moreAvailable": len(self.queue) > asked["maxEvents"]}
        )


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """The test's own stay."""


@asynccontextmanager
async def transmitter() -> AsyncIterator[Emulated]:
    """One that runs."""
    made = Emulated(free_port())
    server = _Server(uvicorn.Config(made.app(), host="127.0.0.1", port=made.port, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event
        await asyncio.sleep(0.01)
    try:
        yield made
    finally:
        server.should_exit = True
        await serving
