"""Asking another authorization server: who we are, for whom, for what.  OAuth 2.1 section 3.2, RFC 8693, RFC 7523, RFC 8707, RFC 7009.

The caller has the intent on RECORD before it asks.  Nothing here decides whether one may ask: the fact and the decision did.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, assert_never
from urllib.parse import urlencode

import orjson

from schemas.authservers import Obtain
from schemas.clients import TOKEN_EXCHANGE, TOKEN_TYPE
from schemas.facts import AuthorizationServer
from workers.broker.authservers.answers import AnswerRefused, Endpoints, Obtained, metadata_urls, read_metadata, read_token
from workers.broker.authservers.assertions import (
    ACTOR_TYP,
    CLIENT_TYP,
    GRANT_TYP,
    JWT_BEARER_ASSERTION,
    JWT_SPIFFE_ASSERTION,
    Names,
    Parties,
    actor_token,
    client_assertion,
    subject_grant,
)
from workers.broker.authservers.ports import NoWay, Ways
from workers.broker.ports import Signer
from workers.broker.signer import Committed
from workers.common.outbound import Answer, OutboundFailed, OutboundRefused

DEADLINE_S = 2.0  # of one request, within the 4 s of an invocation
METADATA_S = 300.0  # how long endpoints that were read are believed
JWT_BEARER_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
Params = list[tuple[str, str]]


class Unreachable(Exception):
    """No answer, or one that says to come again: nobody knows whether the server acted."""


class Asker:
    """Holds the endpoints it has read, and nothing else."""

    def __init__(
        self, ways: Ways, signer: Signer, names: Names, *, issuer: str, now: Callable[[], float], fresh_id: Callable[[], str]
    ) -> None:
        self._ways = ways
        self._signer = signer
        self._names = names
        self._issuer = issuer
        self._now = now
        self._fresh_id = fresh_id
        self._read: dict[tuple[str, str], tuple[Endpoints, float]] = {}

    async def token(
        self,
        server: AuthorizationServer,
        wanted: Obtain,
        parties: Parties,
        *,
        resource: str,
        exp: int,
        seq: int,
        subject: str | None = None,
    ) -> Obtained:
        """An access token for the resource.  `subject`: an access token of that server, to be exchanged in place of a JWT of ours.

        Raises AnswerRefused, NoWay, Unreachable.
        """
        endpoints = await self.endpoints(server)
        if subject is None:
            params: Params = self._grant(server, wanted, parties, resource=resource, exp=exp, seq=seq)
        else:
            shown = [("subject_token", subject), ("subject_token_type", f"{TOKEN_TYPE}access_token")]
            params = [("grant_type", TOKEN_EXCHANGE), *shown, ("requested_token_type", f"{TOKEN_TYPE}access_token")]
        params += [("resource", resource), *([("scope", " ".join(wanted.scopes))] if wanted.scopes else [])]
        answer = await self._post(server, endpoints.token, params, seq)
        return read_token(answer, asked=wanted.scopes, resource=resource, exchanged=wanted.by == "token_exchange")

    async def revoke(self, server: AuthorizationServer, token: str, seq: int) -> None:
        """RFC 7009 section 2.2: 200, also for a token that is no longer valid.  Raises AnswerRefused, NoWay, Unreachable."""
        revocation = (await self.endpoints(server)).revocation
        if revocation is None:
            raise AnswerRefused("the server has no revocation endpoint")
        answer = await self._post(server, revocation, [("token", token), ("token_type_hint", "access_token")], seq)
        if answer.status != 200:
            raise AnswerRefused(f"revocation: status {answer.status}")

    async def endpoints(self, server: AuthorizationServer) -> Endpoints:
        """Pinned, or read from the metadata of this issuer.  Raises AnswerRefused, NoWay, Unreachable."""
        if server.token_endpoint is not None:
            return Endpoints(server.token_endpoint, server.revocation_endpoint)
        held = self._read.get((server.name, server.issuer))
        if held is not None and time.monotonic() < held[1]:
            return held[0]
        first, second = metadata_urls(server.issuer)
        answer = await self._send(server, "GET", first)
        if answer.status == 404:
            answer = await self._send(server, "GET", second)
        endpoints = read_metadata(server, answer)
        self._read[(server.name, server.issuer)] = endpoints, time.monotonic() + METADATA_S
        return endpoints

    def _grant(self, server: AuthorizationServer, wanted: Obtain, parties: Parties, *, resource: str, exp: int, seq: int) -> Params:
        now = int(self._now())
        about: dict[str, Any] = {"issuer": self._issuer, "now": now, "exp": exp}
        of = {**about, "resource": resource, "scope": " ".join(wanted.scopes), "jti": self._fresh_id()}
        match wanted.by:
            case "client_credentials":
                return [("grant_type", "client_credentials")]
            case "jwt_bearer":
                grant = subject_grant(server, self._names, parties, **of, actor="act")
                return [("grant_type", JWT_BEARER_GRANT), ("assertion", self._signed(grant, GRANT_TYP, seq))]
            case "token_exchange":
                subject = subject_grant(server, self._names, parties, **of, actor="may_act")
                actor = actor_token(server, self._names, parties, **about, jti=self._fresh_id())
                shown = [("subject_token", self._signed(subject, GRANT_TYP, seq)), ("subject_token_type", f"{TOKEN_TYPE}jwt")]
                if actor is not None:
                    shown += [("actor_token", self._signed(actor, ACTOR_TYP, seq)), ("actor_token_type", f"{TOKEN_TYPE}jwt")]
                return [("grant_type", TOKEN_EXCHANGE), *shown, ("requested_token_type", f"{TOKEN_TYPE}access_token")]
            case never:
                assert_never(never)

    async def _client(self, server: AuthorizationServer, seq: int) -> Params:
        """One method a request (OAuth 2.1 section 2.4): an assertion, or a certificate beside the identifier (RFC 8705 section 2)."""
        match server.auth:
            case "private_key_jwt":
                assertion = self._signed(client_assertion(server, int(self._now()), self._fresh_id()), CLIENT_TYP, seq)
                return [("client_id", server.client_id), ("client_assertion_type", JWT_BEARER_ASSERTION), ("client_assertion", assertion)]
            case "spiffe_jwt":
                svid = await self._ways.svid(server.issuer)
                return [("client_id", server.client_id), ("client_assertion_type", JWT_SPIFFE_ASSERTION), ("client_assertion", svid)]
            case "tls_client_auth":
                return [("client_id", server.client_id)]
            case never:
                assert_never(never)

    def _signed(self, claims: dict[str, Any], typ: str, seq: int) -> str:
        return self._signer.issue_token(Committed(orjson.dumps(claims), seq, self._signer.kid, typ))

    async def _post(self, server: AuthorizationServer, url: str, params: Params, seq: int) -> Answer:
        body = urlencode([*params, *await self._client(server, seq)]).encode()
        return await self._send(server, "POST", url, body)

    async def _send(self, server: AuthorizationServer, method: str, url: str, body: bytes = b"") -> Answer:
        headers = [("accept", "application/json")]
        headers += [("content-type", "application/x-www-form-urlencoded")] if body else []
        try:
            answer = await self._ways.http(server).request(method, url, headers=headers, body=body, deadline_s=DEADLINE_S)
        except OutboundRefused as refused:
            raise NoWay(str(refused)) from None
        except OutboundFailed as failed:
            raise Unreachable(failed.reason) from None
        if answer.status >= 500 or answer.status == 429:  # RFC 9110 section 15.6, RFC 6585 section 4, RFC 7009 section 2.2.1
            raise Unreachable(f"status {answer.status}")
        return answer
