"""An agent's side of the contract: ask for one call, get an endpoint and a token good for it, or a typed refusal.

`Agent.invoke()` returns `Grant | Refusal`; both are values, and a `Refusal` is falsy.  `Agent.call()` also performs the HTTP request
with the headers of `weft.grants`.  A `Transaction` keeps what its steps share: the person, the transaction they continue, and the evidence
that the tools' guards reported.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from secrets import token_hex
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import nats.errors

from weft import stepping, wire
from weft.connection import Connection
from weft.digest import b64u, call_parts, sha256
from weft.grants import Answer, Asked, Grant, HTTPCall, Refusal, Refused, StepUp, headers_of, nonce_of, wants_nonce
from weft.nkey import KeyPair

if TYPE_CHECKING:
    import httpx

__all__ = ["Agent", "Answer", "Grant", "HTTPCall", "Refusal", "Refused", "StepUp", "Transaction", "sign_request"]

DEADLINE_S = 5.0  # of an invocation, retries included
WAIT_S = 300.0  # for a step-up, which may be a person
RETRY_S = 0.05  # between tries while no gateway answers
REQUEST_TYP = "weft-request+jwt"
REQUESTED = "org.weft.invocation.requested.v1"
GRANTED = "org.weft.invocation.granted.v1"
TOOLS_ASKED = "org.weft.tools.asked.v1"
TOOLS_LISTED = "org.weft.tools.listed.v1"
COMPLETED = "org.weft.transaction.completed.v1"
_COMPACT = json.JSONEncoder(separators=(",", ":"))


class Agent:
    """One instance of an agent, connected.  Use as an async context manager; safe for concurrent calls."""

    def __init__(self, connection: Connection, *, http: httpx.AsyncClient | None = None) -> None:
        self._connection = connection
        self._http = http
        self._owns_http = http is None
        self._nonces: dict[str, str] = {}  # by origin: as many as there are tools that ask for one

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Agent:
        """As `weft agent run` sets it up: WEFT_SERVERS, WEFT_TRUST_DOMAIN, SPIFFE_ENDPOINT_SOCKET."""
        return cls(Connection.from_env("agent", environ))

    async def __aenter__(self) -> Self:
        await self._connection.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._http is not None and self._owns_http:
            await self._http.aclose()
        await self._connection.close()

    @property
    def connection(self) -> Connection:
        """The attested connection."""
        return self._connection

    async def tools(self) -> list[dict[str, Any]]:
        """Only what this agent may call now: name, capabilities, actions, purposes.  Raises Refused."""
        body = wire.event(TOOLS_ASKED, {}, source=str(self._connection.spiffe_id))
        raw = await self._connection.request(f"weft.tools.{self._connection.name}", body, DEADLINE_S)
        answered = wire.parse(raw)
        if answered.type != TOOLS_LISTED:
            raise Refused(_refusal(answered.data))
        tools: list[dict[str, Any]] = answered.data["tools"]
        return tools

    async def invoke(
        self,
        tool: str,
        actions: Sequence[str],
        purpose: str,
        *,
        call: HTTPCall | None = None,
        parent: str | None = None,
        user_token: str | None = None,
        evidence: Sequence[int] = (),
        intent: str | None = None,
        ttl_s: int | None = None,
        authorization_details: Sequence[Mapping[str, Any]] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> Grant | Refusal:
        """Asks for one call.

        `parent` is a token this request continues: one that this workload was called with, or one of this instance's own.
        The same signed request is sent again while no gateway answers: one id, one answer.  Never raises for a refusal or an
        unreachable fabric (code `unavailable`).
        """
        payload = {
            "tool": tool,
            "actions": list(actions),
            "purpose": purpose,
            "call": call_parts(call.method, call.path, call.body) if call else None,
            "intent": sha256(intent) if intent else None,
            "parent": sha256(parent) if parent else None,
            "user": sha256(user_token) if user_token else None,
            "evidence": list(evidence),
            "ttl_s": ttl_s,
            "authorization_details": list(authorization_details) if authorization_details else None,
            "iat": int(time.time()),
        }
        carried = {"parent_token": parent, "user_token": user_token, "intent": intent}
        asked = Asked({k: v for k, v in payload.items() if v is not None}, {k: v for k, v in carried.items() if v}, call)
        return await self._ask(asked, deadline_s)

    async def step_up(self, refusal: StepUp, *, wait_s: float = WAIT_S) -> Grant | Refusal:
        """Shows what a step-up asks for, one thing after the other, and asks for the same call again: waits until a person has answered,
        attests anew, or answers the challenge.

        Returns the grant; a refusal (`denied` where the person said no); or the step-up itself where `wait_s` was not long enough, which
        may be waited for again.  The person sees the call in clear where it is text of moderate length, else its digests.
        """
        until = time.monotonic() + wait_s
        outcome: Grant | Refusal = refusal
        while isinstance(outcome, StepUp) and outcome.asked is not None and (left := until - time.monotonic()) > 0:
            if not await stepping.shown(self._connection, outcome, left):
                return outcome
            outcome = await self._ask(stepping.again(outcome), DEADLINE_S)
        return outcome

    async def _ask(self, asked: Asked, deadline_s: float) -> Grant | Refusal:
        payload, carried = asked.payload, asked.carried
        connection, key, body = self._connection, None, b""
        until = time.monotonic() + deadline_s
        while (left := until - time.monotonic()) > 0:
            if connection.key is not key:  # first, or rebuilt with another key: another digest must have another id
                key, payload = connection.key, {**payload, "id": token_hex(16)}
                data = {"request": sign_request(payload, key.public, key.sign), "svid": connection.svid, **carried}
                body = wire.event(REQUESTED, data, source=str(connection.spiffe_id), id=payload["id"])
            try:
                raw = await connection.request(f"weft.invoke.{connection.name}", body, left)
            except nats.errors.NoRespondersError:
                await asyncio.sleep(min(RETRY_S, left))
            except (nats.errors.Error, OSError, TimeoutError):
                break
            else:
                return _answer(raw, key, asked)
        return Refusal("unavailable", str(payload["id"]))

    async def call(self, tool: str, actions: Sequence[str], purpose: str, call: HTTPCall, **options: Any) -> Answer:
        """`invoke()` and the HTTP request; raises Refused for a refusal, httpx.HTTPError for a tool that cannot be reached."""
        grant = await self.invoke(tool, actions, purpose, call=call, **options)
        if not isinstance(grant, Grant):
            raise Refused(grant)
        return await self.send(grant, call)

    async def send(self, grant: Grant, call: HTTPCall) -> Answer:
        """Performs the HTTP request that the grant is for; once more where the server wants a nonce in the proof (RFC 9449 section 9)."""
        url = grant.endpoint.rstrip("/") + call.path
        svid = None if grant.svid_audience is None else await self._connection.svid_for(grant.svid_audience)
        origin = "/".join(url.split("/", 3)[:3])
        response = await self._sent(call, url, headers_of(grant, call.method, url, svid, self._nonces.get(origin)))
        if grant.proof is not None and (nonce := nonce_of(response.headers)) is not None:
            self._nonces[origin] = nonce  # the newest is the one that counts, section 8.2
            if wants_nonce(response.status_code, response.headers):
                response = await self._sent(call, url, headers_of(grant, call.method, url, svid, nonce))
        seq = response.headers.get("Weft-Record", "")
        return Answer(response.status_code, dict(response.headers), response.content, grant, int(seq) if seq.isdigit() else None)

    async def _sent(self, call: HTTPCall, url: str, headers: dict[str, str]) -> httpx.Response:
        if call.body:
            headers["Content-Type"] = "application/json"
        return await self._client().request(call.method, url, content=call.body, headers=headers)

    async def complete(self, grant: Grant) -> None:
        """The transaction is over: its token and all that descends from it die at every point.  Raises Refused."""
        if grant.token is None:
            raise Refused(Refusal("denied", grant.explanation))
        body = wire.event(COMPLETED, {"token": grant.token}, source=str(self._connection.spiffe_id))
        raw = await self._connection.request(f"weft.complete.{self._connection.name}", body, DEADLINE_S)
        if wire.parse(raw).type == wire.FAILED:
            raise Refused(Refusal("denied", grant.explanation))

    def transaction(self, purpose: str, *, user_token: str | None = None, parent: str | None = None) -> Transaction:
        """Steps that belong together."""
        return Transaction(self, purpose, user_token, parent)

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            import httpx

            self._http = httpx.AsyncClient(timeout=DEADLINE_S, follow_redirects=False, trust_env=False)
        return self._http


class Transaction:
    """Steps under one `txn`: the first grant fixes the ceiling, each answer's evidence is shown to the next step."""

    def __init__(self, agent: Agent, purpose: str, user_token: str | None, parent: str | None) -> None:
        self._agent = agent
        self._purpose = purpose
        self._user_token = user_token
        self._continues = parent
        self._evidence: list[int] = []
        self._last: Grant | None = None

    @property
    def txn(self) -> str | None:
        """The transaction's identifier, once the first step was granted."""
        return self._last.txn if self._last else None

    async def invoke(self, tool: str, actions: Sequence[str], call: HTTPCall, **options: Any) -> Grant | Refusal:
        """As Agent.invoke, within this transaction."""
        grant = await self._agent.invoke(
            tool,
            actions,
            self._purpose,
            call=call,
            parent=self._continues,
            user_token=self._user_token,
            evidence=self._evidence,
            **options,
        )
        return self._held(grant)

    async def step_up(self, refusal: StepUp, *, wait_s: float = WAIT_S) -> Grant | Refusal:
        """As Agent.step_up, within this transaction; what it continues has to live that long."""
        return self._held(await self._agent.step_up(refusal, wait_s=wait_s))

    def _held(self, grant: Grant | Refusal) -> Grant | Refusal:
        if isinstance(grant, Grant):
            self._last = grant
            self._continues = self._continues if grant.leaf else grant.token
        return grant

    async def call(self, tool: str, actions: Sequence[str], call: HTTPCall, **options: Any) -> Answer:
        """As Agent.call, within this transaction."""
        grant = await self.invoke(tool, actions, call, **options)
        if not isinstance(grant, Grant):
            raise Refused(grant)
        answer = await self._agent.send(grant, call)
        if answer.evidence is not None:
            self._evidence.append(answer.evidence)
        return answer

    async def complete(self) -> None:
        """Ends it."""
        if self._last is not None:
            await self._agent.complete(self._last)


def sign_request(payload: Mapping[str, Any], nkey: str, sign: Callable[[bytes], bytes]) -> str:
    """The JWS (RFC 7515 section 7.1, EdDSA of RFC 8037) that binds a request to the connection's key."""
    signing_input = f"{_header(nkey)}.{b64u(_COMPACT.encode(payload).encode())}"
    return f"{signing_input}.{b64u(sign(signing_input.encode()))}"


@lru_cache(maxsize=16)
def _header(nkey: str) -> str:
    return b64u(_COMPACT.encode({"alg": "EdDSA", "typ": REQUEST_TYP, "kid": nkey}).encode())


def _answer(raw: bytes, key: KeyPair | None, asked: Asked) -> Grant | Refusal:
    event = wire.parse(raw)
    data = event.data
    if event.type == GRANTED:
        return Grant(
            data["txn"],
            data["endpoint"],
            data.get("token"),
            data["expires_at"],
            tuple(data["actions"]),
            data["explanation"],
            data["request_id"],
            data.get("proof"),
            key,
            data.get("token_type", "N_A"),
            data.get("svid_audience"),
            data.get("leaf") is True,
        )
    if data.get("code") == "step_up":
        return StepUp(*_told(data), approval=data.get("approval"), challenge=data.get("challenge"), asked=asked)
    return _refusal(data)


def _refusal(data: Mapping[str, Any]) -> Refusal:
    return Refusal(*_told(data))


def _told(data: Mapping[str, Any]) -> tuple[str, str, str | None, float | None]:
    return str(data.get("code", "unavailable")), str(data.get("explanation", "")), data.get("needs"), data.get("retry_after_s")
