"""Verifies that tokens come from Keycloak, as its distribution is, by every grant and every way to prove who asks, the broker's SPIFFE
identity among them; that what is revoked here is revoked there; and what becomes of what it says no to, or says too much.

Runs where KEYCLOAK_HOME names an unpacked distribution (docs/tokens.md); Keycloak's own introspection and events are the witnesses.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from weft.digest import call_parts

from config.settings import OutboundPrivate
from schemas.facts import AuthorizationServer, Relation, Selectors, UserIssuer
from schemas.invocation import Granted, Refused
from schemas.record import OBTAINED
from tests.integration.test_issuer import EXE, Running
from tests.interop.test_oidc_provider import Here, agent_of
from tests.support.egressing import Upstream, upstream
from tests.support.elsewhere import CRM
from tests.support.fabric import FabricServer
from tests.support.identities import user_claims
from tests.support.invocations import RESEARCHER
from tests.support.invoking import Invoking, process
from tests.support.keycloak import Keycloak, bundle_endpoint, keycloak
from workers.issuer.service import api_socket
from workers.supervisor.waiting import free_port

BROKER = "spiffe://88mph.com/weft/broker"
CLIENTS = {"private_key_jwt": "weft-key", "tls_client_auth": "weft-tls", "spiffe_jwt": "weft-spiffe"}
GRANTS = ("client_credentials", "jwt_bearer", "token_exchange")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    with keycloak(tmp_path_factory.mktemp("keycloak")) as running:
        yield running


class There(Here):
    """A fabric, and a realm that knows it."""

    def __init__(self, invoking: Invoking, keycloak: Keycloak, realm: str, auth: str, resource: str) -> None:
        super().__init__(invoking, None)  # type: ignore[arg-type] - the other server is this one
        self.keycloak = keycloak
        self.realm = realm
        self.auth = auth
        self.resource = resource

    def server(self, **changes: Any) -> AuthorizationServer:
        """As docs/tokens.md has it: endpoints from its metadata, names as ours, its own tokens exchanged."""
        fact = {
            "name": "other", "owner": "o", "issuer": f"{self.keycloak.url}/realms/{self.realm}", "client_id": CLIENTS[self.auth],
            "auth": self.auth, "grants": GRANTS, "exchanges": "access_token", "subject": "same",
            "resources": [self.resource], "scopes": ["crm.*"],
            "revocable": True, **({"certificate": "weft"} if self.auth == "tls_client_auth" else {}),
        }  # fmt: skip
        return AuthorizationServer.model_validate_json(json.dumps(fact | changes))

    async def change(self, by: str, server: dict[str, Any] | None = None, **tool: Any) -> None:
        """Facts, and that every worker here sees them."""
        ack = await self.invoking.server.put_facts(self.server(**(server or {})), self.tool(by, **tool))
        for app in self.apps:
            if app.runtime.worker in ("broker", "gateway"):
                async with asyncio.timeout(10):
                    while app.runtime.facts.revision < ack.seq:  # noqa: ASYNC110 - another worker's view has no event here
                        await asyncio.sleep(0.02)

    async def granted(self, **changes: Any) -> Granted:
        answer = await self.ask(**changes)
        assert isinstance(answer, Granted), (await self.reason(answer.explanation), await self.details(), self.said()[-3:])
        return answer

    async def details(self) -> list[str | None]:
        """Why, as RECORD has it."""
        return [event["data"].get("detail") for _, event in await self.invoking.record() if event["type"] == OBTAINED]

    async def introspect(self, token: str) -> dict[str, Any]:
        return await self.keycloak.introspect(self.realm, token, self.resource)

    def said(self) -> list[str]:
        return self.keycloak.events(self.realm)

    async def heard(self, count: int) -> None:
        """Until Keycloak has said so often that a token was revoked."""
        async with asyncio.timeout(30):
            while sum("type=REVOKE_GRANT" in line for line in self.said()) < count:  # noqa: ASYNC110 - its output is read
                await asyncio.sleep(0.1)


@asynccontextmanager
async def there(
    fabric: FabricServer, keycloak: Keycloak, auth: str = "private_key_jwt", *, broker: bool = True, behind: Upstream | None = None
) -> AsyncIterator[There]:
    """`behind`: the tool stands behind the egress, at that upstream."""
    resource = CRM if behind is None else f"http://127.0.0.1:{behind.port}"
    folder = Path(tempfile.mkdtemp(prefix="weft"))  # short: a socket's path has 107 bytes
    issuer = Running(folder)
    issuer.table.rows = [(BROKER, Selectors(uid=os.getuid(), path=EXE))]
    await issuer.service.start(api_socket(issuer.settings), folder / "control.sock")
    fabric.settings = settings = fabric.settings.model_copy(
        update={
            "outbound_private": OutboundPrivate(servers=("127.0.0.0/8",), upstreams=("127.0.0.0/8",)),
            "outbound_ca": keycloak.authority.path, "workload_api": api_socket(issuer.settings),
            "edge_port": free_port(), "egress_port": free_port(),
        }
    )  # fmt: skip
    clients = settings.state / "clients"
    clients.mkdir(exist_ok=True)
    keycloak.authority.issue("weft", san=x509.UniformResourceIdentifier(BROKER), folder=clients)
    key = {name: value for name, value in issuer.signer.jwk.items() if name != "alg"} | {"kid": issuer.signer.kid, "use": "jwt-svid"}
    invoking = Invoking(fabric)
    await invoking.write_world()
    try:
        with bundle_endpoint({"keys": [key], "spiffe_sequence": 1, "spiffe_refresh_hint": 60}) as bundle:
            jwks = f"http://127.0.0.1:{settings.edge_port}/.well-known/jwks.json"
            realm = keycloak.make_realm(
                weft_issuer=settings.issuer, weft_jwks=jwks, bundle=bundle, trust_domain=settings.trust_domain, broker_id=BROKER,
                resource=resource, agent=RESEARCHER, person="marty",
            )  # fmt: skip
            made = There(invoking, keycloak, realm, auth, resource)
            charter = {"tools": ["*"], "purposes": ["web.search.*"], "actions": ["*"]}
            operates = Relation(subject=f"agent:{RESEARCHER}", relation="operates", object="tool:crm")
            await fabric.put_facts(
                await agent_of(invoking, charter),
                operates,
                made.server(),
                made.tool("client_credentials") if behind is None else made.shown(resource),
            )
            made.nc = await invoking.connect(made.agent)
            async with invoking.workers(
                "revocation", "registry", "edge", "gateway", *(("broker",) if broker else ()), *(("egress",) if behind else ())
            ) as apps:
                made.apps = apps
                yield made
    finally:
        await issuer.service.stop()
        shutil.rmtree(folder)


@pytest.mark.parametrize("auth", CLIENTS)
async def test_a_token_by_each_grant_and_each_way_to_prove_who_asks(fabric_server: FabricServer, server: Keycloak, auth: str) -> None:
    async with there(fabric_server, server, auth) as place:
        given = {}
        for by in GRANTS:
            await place.change(by)
            token = (await place.granted()).token
            assert token is not None
            given[by] = token
            told = await place.introspect(token)
            assert (told["active"], told["aud"], told["scope"], told["azp"]) == (True, CRM, "crm.read", CLIENTS[auth])
            if by != "client_credentials":
                assert told["username"] == "researcher", "the agent, as that realm knows it"
            assert (await place.granted()).token == token, "kept for the same agent and tool"
        await place.heard(1)  # what was exchanged
        await place.revoke("instance", place.agent.instance)
        await place.heard(1 + len(GRANTS))
        assert [(await place.introspect(token))["active"] for token in given.values()] == [False] * len(GRANTS)
        print(f"\n{auth}:", *place.said(), sep="\n  ")


async def test_on_behalf_of_a_person_that_the_realm_knows(fabric_server: FabricServer, server: Keycloak) -> None:
    async with there(fabric_server, server) as place:
        issuer = place.invoking.issuer
        login = UserIssuer(iss="https://login.88mph.com", jwks={"keys": [issuer.jwk]}, aud="https://fabric.88mph.com")
        may = Relation(subject="user:marty", relation="operates", object="tool:crm")
        lets = Relation(subject="user:marty", relation="delegates_to", object=f"agent:{RESEARCHER}")
        await place.invoking.server.put_facts(login, may, lets)
        for by in ("jwt_bearer", "token_exchange"):
            await place.change(by)
            user = issuer.sign(user_claims(now=time.time(), sub="marty", client_id=RESEARCHER, scope="read"), typ="at+jwt")
            told = await place.introspect((await place.granted(user=user)).token or "")
            assert (told["username"], told["aud"]) == ("marty", CRM)


async def test_what_it_refuses_is_refused_with_its_code_and_what_it_gives_too_much_is_taken_back(
    fabric_server: FabricServer, server: Keycloak
) -> None:
    """Verifies a scope that the client does not have, a resource that Keycloak does not know (it gives a token for another, or for nobody),
    proof of possession that nobody here could give, and a life beyond the tool's limit.
    """
    async with there(fabric_server, server) as place:

        async def refused(by: str, **changes: Any) -> tuple[str, str | None]:
            await place.change(by, **changes)
            answer = await place.ask()
            assert isinstance(answer, Refused)
            reason = await place.reason(answer.explanation)
            return reason, next((detail for detail in reversed(await place.details()) if detail), None)

        def asking(by: str, *scopes: str) -> dict[str, Any]:
            return {"server": "other", "by": by, "scopes": list(scopes)}

        written = await refused("client_credentials", obtain=asking("client_credentials", "crm.write"))
        assert written == ("authserver_refused", "invalid_scope, status 400")
        mail = {"resource": "https://mail.88mph.com", "endpoint": "https://mail.88mph.com"}
        other = await refused("client_credentials", server={"resources": [CRM, mail["resource"]]}, **mail)
        assert other == ("authserver_refused", "the token is for another audience")
        bare = await refused("client_credentials", obtain=asking("client_credentials", "crm.bare"))
        assert bare == ("authserver_refused", "the token does not say for whom it is")
        await place.heard(2)  # both of them
        place.keycloak.change_client(place.realm, "weft-key", **{"access.token.lifespan": "3600"})
        for number, by in enumerate(GRANTS):
            assert (await refused(by))[0] == "token_uncontained"
            await place.heard(3 + number + (1 if by == "token_exchange" else 0))
        place.keycloak.change_client(place.realm, "weft-key", **{"access.token.lifespan": "60", "dpop.bound.access.tokens": "true"})
        bound = await refused("client_credentials")
        assert bound[0] == "authserver_refused"
        print("\nrefused:", *place.said(), sep="\n  ", end=f"\n  DPoP wanted: {bound[1]}\n")


async def test_the_egress_shows_what_no_agent_may_hold_and_no_longer_than_the_tool_allows(
    fabric_server: FabricServer, server: Keycloak
) -> None:
    """Verifies that a token of an hour is shown to the upstream alone, and is revoked where it was issued at the tool's limit."""
    async with upstream() as up, there(fabric_server, server, behind=up) as place:
        server.change_client(place.realm, "weft-key", **{"access.token.lifespan": "3600"})
        await place.invoking.server.put_facts(place.shown(place.resource).model_copy(update={"max_ttl_s": 10}))
        egress = next(app for app in place.apps if app.runtime.worker == "egress")
        async with asyncio.timeout(10):
            while egress.runtime.detail()["tools"] != 1:  # noqa: ASYNC110 - another worker's view has no event here
                await asyncio.sleep(0.03)
        granted = await place.granted(call=call_parts("GET", "/ok", b""))
        async with httpx.AsyncClient(timeout=15, trust_env=False) as http:
            answer = await http.get(f"{granted.endpoint}/ok", headers={"Txn-Token": granted.token or ""})
        assert answer.status_code == 200
        (line,) = [line for line in up.heads[-1].decode().split("\r\n") if line.lower().startswith("authorization: ")]
        shown = line.split(" ")[2]
        told = await place.introspect(shown)
        assert (told["active"], told["aud"], told["exp"] - told["iat"]) == (True, place.resource, 3600)
        assert shown not in f"{granted} {answer.headers} {answer.text}"
        await place.heard(2)  # what was exchanged at once, and this one
        assert (await place.introspect(shown))["active"] is False


async def test_a_broker_that_is_killed_leaves_nothing_there(fabric_server: FabricServer, server: Keycloak) -> None:
    async with there(fabric_server, server, broker=False) as place:
        settings = place.invoking.server.settings
        async with process("broker", settings) as broker:
            token = (await place.granted()).token or ""
            broker.send_signal(signal.SIGKILL)
            await broker.wait()
        assert (await place.introspect(token))["active"] is True
        await place.revoke("agent", RESEARCHER)
        async with process("broker", settings):
            await place.heard(1)
        assert (await place.introspect(token))["active"] is False


async def test_it_goes_away(fabric_server: FabricServer, server: Keycloak) -> None:
    """Verifies a typed refusal within the caller's deadline, and that nothing hangs.  The last one: it does not come back."""
    async with there(fabric_server, server) as place:
        await place.granted()
        server.stop()
        await place.change("jwt_bearer")
        started = time.monotonic()
        answer = await place.ask()
        assert isinstance(answer, Refused)
        assert await place.reason(answer.explanation) == "authserver_unavailable"
        assert time.monotonic() - started < 5
