"""The OAuth face over HTTP without a bus: the edge's routes, the broker's handlers, views that a test sets, RECORD in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import jwt
import structlog
from weft.digest import b64u, unb64u

from config.limits import OAuthLimits
from config.settings import Settings
from schemas.facts import Key
from schemas.oauth import Answered, Asked, ClientCertificate
from schemas.token import TOKEN_TYP
from tests.support import facts as fact_support
from tests.support import world
from tests.support.hotpath import FakeHistory, FakeRevocations, FakeStatuses, FakeViews, FixedClock
from tests.support.identities import NOW, Signer
from tests.support.records import FakeRecordStream
from workers.broker.oauth.clients import Once
from workers.broker.oauth.handlers import OAuthHandlers
from workers.broker.oauth.inspection import Inspection
from workers.broker.oauth.limits import ClientLimits
from workers.broker.oauth.nonces import Nonces
from workers.broker.oauth.parts import Parts
from workers.broker.oauth.recording import Recording
from workers.broker.signer import Committed, TokenSigner
from workers.common.recorder import Recorder
from workers.common.verification import Verifier
from workers.edge.faces import oauth
from workers.edge.http import application

ISSUER = "https://as.88mph.com"
TOKEN_URL = f"{ISSUER}/oauth/token"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:"
TXN = f"{TYPE}txn_token"
BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
RESEARCHER = "spiffe://88mph.com/agents/researcher"
ADVISOR = "spiffe://88mph.com/agents/advisor"
FRONT = "spiffe://88mph.com/services/front"
PROVIDER = "https://login.88mph.com"
SEARCH = "https://web-search.88mph.com"
ANY: dict[str, list[str]] = {
    name: ["process.refund", "web.search.*"]
    for name in ("access_token", "id_token", "jwt", "self_signed", "unsigned_json", "txn_token", "saml1", "saml2")
}


def client(client_id: str, signer: Signer | None = None, **changes: Any) -> dict[str, Any]:
    """A client fact of private_key_jwt with every right of this world, changed."""
    good: dict[str, Any] = {
        "kind": "client",
        "client_id": client_id,
        "owner": "ops",
        "auth_method": "private_key_jwt",
        "grant_types": ["client_credentials", EXCHANGE],
        "scopes": ["ssf.read", "ssf.manage"],
        "ceilings": ANY,
    }
    if signer is not None:
        good["jwks"] = {"keys": [signer.jwk]}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


@dataclass
class FakeClaims:
    """CLAIMS in memory."""

    seen: set[str] = field(default_factory=set)

    async def claim(self, once: Once, now: float) -> bool:
        first = once.key not in self.seen
        self.seen.add(once.key)
        return first


class FakeOrders:
    """Revocation in memory: what was ordered, and the view that applies it."""

    def __init__(self, view: FakeRevocations) -> None:
        self.ordered: list[Any] = []
        self._view = view

    async def revoke(self, order: Any) -> None:
        from weft.digest import target_digest

        self.ordered.append(order)
        self._view.hit |= {target_digest(kind, value) for kind, value in order.targets}


class _Runtime:
    in_flight = 0
    log = structlog.get_logger()


class OAuthWorld:
    """One fabric, one edge, clients `console` (a service), `front` (a workload that is no agent) and `researcher` (an agent)."""

    def __init__(self, issuer: str = ISSUER, limits: OAuthLimits | None = None, nonces: Nonces | None = None) -> None:
        environment = {"environment": "prod", "region": "us-east"}
        self.settings = Settings(state="/nonexistent", issuer=issuer, ssf_issuer="https://ssf.88mph.com", environment=environment)
        self.limits = limits or OAuthLimits()
        self._addresses = oauth.address_limits(self.limits)
        self.keys = {name: Signer(kid=f"{name}-1") for name in ("console", "front", "researcher", "tokens", "provider", "svid", "other")}
        self.clock = FixedClock()
        self.stream = FakeRecordStream()
        self.facts = fact_support.table_of(self._facts())
        self.views = FakeViews(self.facts)
        self.revocations = OwnRevocations()
        self.claims = FakeClaims()
        self.orders = FakeOrders(self.revocations)
        self.certificate: ClientCertificate | None = None
        self.signer = TokenSigner(self.keys["tokens"].private, "tokens-1")
        self.recorder = Recorder(self.stream)
        parts = Parts(
            views=self.views,
            verifier=Verifier(self.facts, self.revocations, self.settings),
            revocations=self.revocations,
            recording=Recording(self.recorder),
            history=FakeHistory(self.stream),
            signer=self.signer,
            statuses=FakeStatuses(),
            once=self.claims,
            clock=self.clock,
            settings=self.settings,
            nonces=nonces,
        )
        limited = ClientLimits(self.limits, lambda: self.clock.now())  # noqa: PLW0108 - tests put another clock there
        self.handlers = OAuthHandlers(_Runtime(), parts, Inspection(parts, self.orders), {}, limited)  # type: ignore[arg-type]

    def _facts(self) -> list[dict[str, Any]]:
        provider = {
            "kind": "issuer",
            "iss": PROVIDER,
            "aud": "https://fabric.88mph.com",
            "jwks": {"keys": [self.keys["provider"].jwk]},
        }
        key = Key(purpose="tokens", kid="tokens-1", jwk=self.keys["tokens"].jwk, trust_domain="88mph.com")
        svid = self.keys["svid"].fact(assurance="production")
        services = {"kind": "namespace", "prefix": "spiffe://88mph.com/services", "owner": "platform"}
        return [
            *world.bodies().values(),
            provider,
            key.plain(),
            svid.plain(),
            services,
            client("console", self.keys["console"], ceilings={}, grant_types=["client_credentials"]),
            client("front", self.keys["front"], spiffe_id=FRONT, protects=["https://api.88mph.com"]),
            client(
                "researcher",
                self.keys["researcher"],
                spiffe_id=RESEARCHER,
                scopes=["web.search.execute"],
                resources=["https://api.88mph.com"],
            ),
            client("svid-researcher", auth_method="spiffe_jwt", spiffe_id=RESEARCHER),
        ]

    def put(self, *plain: dict[str, Any]) -> None:
        """Facts that come later."""
        fact_support.put(self.facts, *plain)

    # --- HTTP ---------------------------------------------------------------------------------------------------------------------

    async def oauth(self, asked: Asked) -> Answered:
        """As the bus: through the wire form and back."""
        wire = Asked.model_validate_json(asked.model_copy(update={"deadline": self.clock.now() + 5}).wire())
        return Answered.model_validate_json((await self.handlers.reply(wire)).wire())

    @asynccontextmanager
    async def http(self) -> AsyncIterator[httpx.AsyncClient]:
        face = oauth.Face(self, self.settings.issuer, lambda _request: self.certificate, mtls=True, limits=self._addresses)
        app = application(oauth.routes(face), oauth.BODIES)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=self.settings.issuer) as http:
            yield http

    async def post(self, path: str, form: dict[str, Any] | list[tuple[str, str]], **options: Any) -> httpx.Response:
        async with self.http() as http:
            if isinstance(form, list):
                options.setdefault("headers", {})["content-type"] = "application/x-www-form-urlencoded"
                return await http.post(path, content=str(httpx.QueryParams(form)), **options)
            return await http.post(path, data=form, **options)

    # --- who asks -----------------------------------------------------------------------------------------------------------------

    def assertion(
        self, name: str = "console", *, signer: Signer | None = None, typ: str | None = "client-authentication+jwt", **changes: Any
    ) -> str:
        now = int(self.clock.now())
        good = {"iss": name, "sub": name, "aud": self.settings.issuer, "exp": now + 60, "iat": now, "jti": uuid4().hex}
        claims = {key: value for key, value in {**good, **changes}.items() if value is not None}
        return (signer or self.keys[name]).sign(claims, typ=typ)

    def proven(self, name: str = "console", **changes: Any) -> dict[str, str]:
        """The parameters of private_key_jwt."""
        return {"client_assertion_type": BEARER, "client_assertion": self.assertion(name, **changes)}

    def svid(self, sub: str = RESEARCHER, **changes: Any) -> dict[str, str]:
        now = int(self.clock.now())
        claims = {"sub": sub, "aud": [self.settings.issuer], "exp": now + 300, "iat": now, "weft_instance": "i" + "a" * 26, **changes}
        svid = self.keys["svid"].sign({name: value for name, value in claims.items() if value is not None})
        return {"client_assertion_type": SPIFFE, "client_assertion": svid}

    def person(self, *, typ: str = "at+jwt", signer: Signer | None = None, **changes: Any) -> str:
        """An access token of marty for the researcher, changed."""
        now = int(self.clock.now())
        good = {
            "iss": PROVIDER,
            "aud": "https://fabric.88mph.com",
            "sub": "marty",
            "client_id": RESEARCHER,
            "scope": "web.search.execute process.refund",
            "exp": now + 200,
            "iat": now,
            "jti": uuid4().hex,
        }
        claims = {name: value for name, value in {**good, **changes}.items() if value is not None}
        return (signer or self.keys["provider"]).sign(claims, typ=typ)

    def proof(self, url: str = TOKEN_URL, method: str = "POST", signer: Signer | None = None, **changes: Any) -> str:
        """A DPoP proof, made without the code under test."""
        key = signer or self.keys["other"]
        jwk = {name: value for name, value in key.jwk.items() if name in ("kty", "crv", "x", "y")}
        claims = {"jti": uuid4().hex, "htm": method, "htu": url, "iat": int(self.clock.now()), **changes}
        return jwt.encode(claims, key.private, "ES256", headers={"typ": "dpop+jwt", "jwk": jwk})

    def exchange(self, name: str = "front", **changes: Any) -> dict[str, Any]:
        """A good exchange of unsigned JSON, changed; None removes."""
        good = {
            **(self.proven(name) if name in self.keys else {}),
            "grant_type": EXCHANGE,
            "requested_token_type": TXN,
            "audience": "88mph.com",
            "scope": "web.search.execute",
            "subject_token": json.dumps({"sub": "marty"}),
            "subject_token_type": f"{TYPE}unsigned_json",
        }
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def own(self, claims: dict[str, Any], typ: str = TOKEN_TYP) -> str:
        """A token signed with the fabric's own key, whatever it says."""
        return self.signer.issue_token(Committed(json.dumps(claims).encode(), 1, self.signer.kid, typ))

    async def records(self) -> list[dict[str, Any]]:
        """What stands on RECORD, in order."""
        return [json.loads(body) for _, body in self.stream.messages]


class OwnRevocations(FakeRevocations):
    """A view whose hits are target digests."""

    def __init__(self) -> None:
        super().__init__()
        self.hit: set[str] = set()
        self.counter = 3

    def behind(self, token: Any) -> bool:
        return token.rev > self.counter

    def revoked(self, token: Any) -> int | None:
        return 9 if self.hit & set(token.targets) else None


def payload(token: str) -> dict[str, Any]:
    """What a token says, unverified."""
    return json.loads(unb64u(token.split(".")[1]))


def header(token: str) -> dict[str, Any]:
    return json.loads(unb64u(token.split(".", maxsplit=1)[0]))


__all__ = ["NOW", "OAuthWorld", "b64u", "client", "header", "payload"]
