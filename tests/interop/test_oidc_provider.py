"""Verifies that tokens come from a real authorization server which is not ours, by every grant and every way to prove who asks; that what
is revoked here is revoked there; and that what could not be taken back, or lives too long, reaches no agent.

The server is oidc-provider on node, installed from tests/interop/oidc-provider; its own output and its own introspection are the witnesses.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from nats.errors import NoRespondersError
from weft.digest import call_parts

from config.settings import OutboundPrivate
from schemas.facts import AuthorizationServer, Relation, Tool, UserIssuer
from schemas.invocation import Granted, Refused
from schemas.record import DENIED, OBTAINED
from tests.support import elsewhere
from tests.support.egressing import Upstream, upstream
from tests.support.elsewhere import CRM, OtherServer, other_server
from tests.support.fabric import FabricServer
from tests.support.identities import user_claims
from tests.support.invocations import RESEARCHER
from tests.support.invoking import Invoking
from tests.support.ordering import revoke
from workers.supervisor.waiting import free_port

ASK = {"tool": "crm", "actions": ["read"], "purpose": "web.search.execute"}
BY_KEY = {"token_endpoint_auth_method": "private_key_jwt"}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return elsewhere.installed(tmp_path_factory.mktemp("oidc-provider"))


class Here:
    """A fabric and the other server, each knowing the other."""

    def __init__(self, invoking: Invoking, other: OtherServer) -> None:
        self.invoking = invoking
        self.other = other
        self.agent = invoking.agent(id=RESEARCHER)
        self.nc: Any = None
        self.apps: list[Any] = []

    def server(self, **changes: Any) -> AuthorizationServer:
        fact = {
            "name": "other", "owner": "o", "issuer": self.other.issuer, "client_id": "weft", "resources": [CRM], "scopes": ["crm.*"],
            "grants": ["client_credentials", "token_exchange", "jwt_bearer"], "revocable": True,
        }  # fmt: skip
        return AuthorizationServer.model_validate_json(json.dumps(fact | changes))

    def tool(self, by: str = "token_exchange", **changes: Any) -> Tool:
        record = {
            "name": "crm", "owner": "o", "workload": "spiffe://88mph.com/tools/crm", "endpoint": f"{CRM}/api", "resource": CRM,
            "actions": ["read"], "purposes": ["web.search.execute"], "bind": [], "token_form": "external",
            "obtain": {"server": "other", "by": by, "scopes": ["crm.read"]},
        }  # fmt: skip
        return Tool.model_validate_json(json.dumps(record | changes))

    def shown(self, resource: str) -> Tool:
        """The same behind the egress: its tokens may live long, and need not be revocable."""
        settings = self.invoking.server.settings
        routes = [{"method": "GET", "path": "/*", "actions": ["read"]}]
        place = {"workload": settings.egress_id, "endpoint": f"{settings.egress}/crm", "resource": resource, "token_form": "txn"}
        return self.tool(**place, egress={"upstream": f"{resource}/v1", "routes": routes}, bind=["method", "path", "body"])

    async def ask(self, **changes: Any) -> Granted | Refused:
        """As an agent's SDK does: again while nobody listens."""
        async with asyncio.timeout(10):
            while True:
                try:
                    return await self.invoking.invoke(self.nc, self.agent, **ASK, **changes)
                except NoRespondersError:
                    await asyncio.sleep(0.05)

    async def reason(self, explanation: str) -> str:
        """Why the broker refused, after a decision that allowed."""
        denied = [event["data"] for _, event in await self.invoking.record() if event["type"] == DENIED]
        return next(str(data["reason"]) for data in denied if data["explanation"] == explanation)

    async def obtained(self) -> list[str]:
        """What RECORD says of obtaining, in order."""
        return [event["data"]["state"] for _, event in await self.invoking.record() if event["type"] == OBTAINED]

    async def revoke(self, kind: Any, value: str) -> None:
        await revoke(self.invoking.server, kind, value)


@asynccontextmanager
async def here(
    server: FabricServer, program: Path, *, ttl_s: int = 60, auth: str = "private_key_jwt", behind: Upstream | None = None
) -> AsyncIterator[Here]:
    """`behind`: the tool stands behind the egress, at that upstream."""
    resource = CRM if behind is None else f"http://127.0.0.1:{behind.port}"
    tokens = server.keys["tokens"]
    weft = {"issuer": server.settings.issuer, "jwks": {"keys": [{**tokens.jwk, "kid": tokens.kid, "use": "sig"}]}}
    certified = {"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_uri": "spiffe://88mph.com/broker"}
    async with other_server(program, weft, ttl_s=ttl_s, auth=certified if auth == "tls_client_auth" else None, resource=resource) as other:
        settings = server.settings.model_copy(
            update={
                "outbound_private": OutboundPrivate(servers=("127.0.0.0/8",), upstreams=("127.0.0.0/8",)),
                "outbound_ca": other.authority.path,
                "egress_port": free_port(),
            }
        )
        server.settings = settings
        clients = settings.state / "clients"
        clients.mkdir(exist_ok=True)
        other.authority.issue("weft", san=x509.UniformResourceIdentifier("spiffe://88mph.com/broker"), folder=clients)
        invoking = Invoking(server)
        await invoking.write_world()
        made = Here(invoking, other)
        charter = {"tools": ["*"], "purposes": ["web.search.*"], "actions": ["*"]}
        agent = await agent_of(invoking, charter)
        relation = Relation(subject=f"agent:{RESEARCHER}", relation="operates", object="tool:crm")
        fact = made.server(auth=auth, resources=[resource], **({"certificate": "weft"} if auth == "tls_client_auth" else {}))
        await server.put_facts(agent, relation, fact, made.tool() if behind is None else made.shown(resource))
        made.nc = await invoking.connect(made.agent)
        async with invoking.workers("revocation", "broker", "gateway", *(() if behind is None else ("registry", "egress"))) as apps:
            made.apps = apps
            yield made


async def agent_of(invoking: Invoking, charter: dict[str, Any]) -> Any:
    from tests.support import world
    from tests.support.facts import body

    plain = world.bodies()["researcher"]
    return body({**plain, "charter": {**plain["charter"], **charter}})


@pytest.mark.parametrize("auth", ["private_key_jwt", "tls_client_auth"])
async def test_a_token_by_each_grant_and_each_way_to_prove_who_asks(fabric_server: FabricServer, program: Path, auth: str) -> None:
    async with here(fabric_server, program, auth=auth) as place:
        for by in ("client_credentials", "token_exchange", "jwt_bearer"):
            await place.invoking.server.put_facts(place.tool(by))
            granted = await until(place, lambda got, grant=by: got["gty"] == grant)
            told = await place.other.introspect(granted.token)
            assert (told["active"], told["aud"], told["scope"], told["client_id"]) == (True, CRM, "crm.read", "weft")
            assert granted.token_type == "Bearer"
            assert granted.expires_at - told["iat"] <= 61
            if by != "client_credentials":
                assert RESEARCHER not in json.dumps(told), "toward another domain: pairwise names"
        assert [line for line in place.other.said if line.startswith("issued")] == [
            f"issued {name} to weft for {CRM}: crm.read" for name in ("client_credentials", "token_exchange", "jwt_bearer")
        ]
        print(f"\n{auth}:", *place.other.said, sep="\n  ")


async def until(place: Here, fits: Any) -> Granted:
    """Granted under the record as it is now: views hear of a change a moment after it was written."""
    async with asyncio.timeout(10):
        while True:
            granted = await place.ask()
            assert isinstance(granted, Granted), await place.reason(granted.explanation)
            kind = [line.split()[1] for line in place.other.said if line.startswith("issued")][-1]
            if fits({"gty": kind}):
                return granted
            await asyncio.sleep(0.05)


async def test_on_behalf_of_a_person_the_actor_is_named_and_nobody_shares_a_token(fabric_server: FabricServer, program: Path) -> None:
    """INVARIANT: a token that was obtained for one person and agent serves nobody else; the same two are served by one (issue 4).

    Broken by keeping tokens by tool, or by agent alone.
    """
    async with here(fabric_server, program) as place:
        issuer = place.invoking.issuer
        people = [Relation(subject=f"user:{who}", relation="operates", object="tool:crm") for who in ("marty", "doc")]
        consents = [Relation(subject=f"user:{who}", relation="delegates_to", object=f"agent:{RESEARCHER}") for who in ("marty", "doc")]
        login = UserIssuer(iss="https://login.88mph.com", jwks={"keys": [issuer.jwk]}, aud="https://fabric.88mph.com")
        await place.invoking.server.put_facts(login, *people, *consents)

        def user(sub: str) -> str:
            import time

            return issuer.sign(user_claims(now=time.time(), sub=sub, client_id=RESEARCHER, scope="read"), typ="at+jwt")

        async def token(sub: str | None) -> str:
            async with asyncio.timeout(10):
                while True:
                    granted = await place.ask(**({} if sub is None else {"user": user(sub)}))
                    if isinstance(granted, Granted):
                        return granted.token
                    await asyncio.sleep(0.05)

        alone, marty, doc = await token(None), await token("marty"), await token("doc")
        assert len({alone, marty, doc}) == 3
        assert (await token("marty"), await token("doc"), await token(None)) == (marty, doc, alone)
        told = [await place.other.introspect(each) for each in (alone, marty, doc)]
        assert "act" not in told[0]
        assert told[1]["act"] == told[2]["act"] == {"sub": told[0]["sub"]}, "the agent acts in both"
        assert len({each["sub"] for each in told}) == 3
        assert "marty" not in json.dumps(told)
        sibling = place.invoking.agent(id=RESEARCHER, instance="i" + "c3" * 13)
        nc = await place.invoking.connect(sibling)
        granted = await place.invoking.invoke(nc, sibling, **ASK)
        assert isinstance(granted, Granted)
        assert granted.token != alone, "another instance, which may be quarantined by itself"


@pytest.mark.parametrize("what", ["transaction", "instance", "agent"])
async def test_what_is_revoked_here_is_revoked_there(fabric_server: FabricServer, program: Path, what: str) -> None:
    """INVARIANT: a revocation that hits a call ends the token that was obtained for it, where it was issued (RFC 7009).

    Broken by forgetting what was handed out, or by revoking for the last call alone.
    """
    async with here(fabric_server, program) as place:
        first = await place.ask()
        again = await place.ask()
        assert isinstance(first, Granted)
        assert isinstance(again, Granted)
        assert (again.token, again.txn != first.txn) == (first.token, True)
        assert (await place.other.introspect(first.token))["active"] is True
        await place.revoke(what, {"transaction": first.txn, "instance": place.agent.instance, "agent": RESEARCHER}[what])
        await place.other.heard("revoked token_exchange of weft")
        assert await place.other.introspect(first.token) == {"active": False}
        async with asyncio.timeout(5):
            while "revoked" not in await place.obtained():  # noqa: ASYNC110 - RECORD is asked, there is no event
                await asyncio.sleep(0.05)
        assert await place.obtained() == ["asked", "got", "revoked"]
        after = await place.ask()
        assert isinstance(after, Granted)
        assert after.token != first.token
        print(f"\n{what}:", *place.other.said, sep="\n  ")


async def test_a_broker_that_stops_takes_back_what_it_obtained(fabric_server: FabricServer, program: Path) -> None:
    async with here(fabric_server, program) as place:
        granted = await place.ask()
        assert isinstance(granted, Granted)
        assert (await place.other.introspect(granted.token))["active"] is True
        place.kept = granted.token  # type: ignore[attr-defined]
        stopped = place
    assert any(line == "revoked token_exchange of weft" for line in stopped.other.said)


async def test_what_lives_longer_than_the_tool_allows_reaches_no_agent(fabric_server: FabricServer, program: Path) -> None:
    """INVARIANT: a token that outlives the tool's limit, or could not be revoked, never leaves the fabric (issue 4).

    Broken by believing that the server's life is short enough, or that its fact says who can revoke.
    """
    async with here(fabric_server, program, ttl_s=3600) as place:
        refused = await place.ask()
        assert isinstance(refused, Refused)
        assert await place.reason(refused.explanation) == "token_uncontained"
        await place.other.heard("revoked token_exchange of weft")
        await place.invoking.server.put_facts(place.server(revocable=False), place.tool(max_ttl_s=3600))
        issued = len(place.other.said)
        async with asyncio.timeout(10):
            while True:
                refused = await place.ask()
                if len(place.other.said) == issued:
                    break
                issued = len(place.other.said)
        assert await place.reason(refused.explanation) == "token_uncontained"


async def test_the_egress_shows_what_no_agent_may_hold(fabric_server: FabricServer, program: Path) -> None:
    """INVARIANT: a token that lives too long for an agent, or could not be taken back, is the egress's to show; the agent never sees it.

    Broken by granting it to the agent, or by answering with what the upstream was shown.
    """
    async with upstream() as up, here(fabric_server, program, ttl_s=3600, behind=up) as place:
        await place.invoking.server.put_facts(place.server(revocable=False, resources=[f"http://127.0.0.1:{up.port}"]))
        egress = next(app for app in place.apps if app.runtime.worker == "egress")
        async with asyncio.timeout(10):
            while egress.runtime.detail()["tools"] != 1:  # noqa: ASYNC110 - another worker's view has no event here
                await asyncio.sleep(0.03)
        granted = await place.ask(call=call_parts("GET", "/ok", b""))
        assert isinstance(granted, Granted)
        async with httpx.AsyncClient(timeout=15, trust_env=False) as http:
            answer = await http.get(f"{granted.endpoint}/ok", headers={"Txn-Token": granted.token or ""})
        assert (answer.status_code, answer.json()) == (200, {"method": "GET", "target": "/v1/ok"})
        (line,) = [line for line in up.heads[-1].decode().split("\r\n") if line.lower().startswith("authorization: ")]
        shown = line.split(" ")[2]
        told = await place.other.introspect(shown)
        assert (told["active"], told["aud"], told["exp"] - told["iat"]) == (True, f"http://127.0.0.1:{up.port}", 3600)
        assert shown not in f"{granted} {answer.headers} {answer.text}"
        assert await place.obtained() == ["asked", "got"]
        print("\negress:", *place.other.said, sep="\n  ")


async def test_what_the_server_refuses_is_refused_with_its_code(fabric_server: FabricServer, program: Path) -> None:
    async with here(fabric_server, program) as place:
        fact = place.server(client_id="somebody")
        await place.invoking.server.put_facts(fact)
        async with asyncio.timeout(10):
            while isinstance(answer := await place.ask(), Granted):  # noqa: ASYNC110 - views are asked, there is no event
                await asyncio.sleep(0.05)
        assert await place.reason(answer.explanation) == "authserver_refused"
        details = [event["data"].get("detail") for _, event in await place.invoking.record() if event["type"] == OBTAINED]
        assert details[-1] == "invalid_client, status 401"
