"""Promise 1: no agent holds a credential but its own attested identity."""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from weft.digest import b64u, unb64u

from schemas.facts import UserIssuer
from schemas.minting import MintAnswer
from schemas.token import DEFAULT_TTL_S
from tests.support.hotpath import HotPath
from tests.support.identities import user_claims
from tests.support.invocations import ADVISOR, AgentSide

FRAUD = {"tool": "fraud-check", "actions": ["check"], "purpose": "process.refund"}


async def answered(hot: HotPath, agent: AgentSide, **changes: Any) -> dict[str, Any]:
    """What the agent hears in the end, with gateway and broker behind one another."""
    hot.broker.answer = MintAnswer(granted=await hot.mint.grant(await hot.allowed(agent, **changes)))
    return json.loads(await hot.gateway.invoke(agent.name, agent.body(hot.clock.at, **changes), hot.clock.at))["data"]


def claims_of(token: str) -> dict[str, Any]:
    return json.loads(unb64u(token.split(".")[1]))


async def test_a_grant_is_an_endpoint_and_a_short_token_for_one_call() -> None:
    """INVARIANT: an agent is handed where the tool lives and one short-lived token for that one call, and nothing besides (promise 1).

    An answer with another member, a token for a second tool, or one that lives for as long as any may, would break it.
    """
    hot = HotPath()
    data = await answered(hot, hot.agent())
    assert set(data) == {
        "request_id", "txn", "endpoint", "token", "token_type", "issued_token_type", "expires_at", "actions", "explanation"
    }  # fmt: skip
    claims = claims_of(data["token"])
    assert claims["exp"] - claims["iat"] <= DEFAULT_TTL_S
    assert (claims["call"]["tool"], claims["call"]["actions"]) == ("web-search", ["search"])
    assert data["endpoint"].startswith("http")
    assert "endpoint" not in json.dumps(claims)


async def test_no_secret_of_the_fabric_or_of_a_person_is_in_what_an_agent_gets() -> None:
    """INVARIANT: neither the broker's key nor a person's token is in anything that an agent or a tool is handed (promise 1).

    Putting the person's token into the Transaction Token, so that a tool may "act for him", would break it.
    """
    hot = HotPath()
    hot.put(UserIssuer(iss="https://login.88mph.com", jwks={"keys": [hot.issuer.jwk]}, aud="https://fabric.88mph.com"))
    user = hot.issuer.sign(user_claims(now=hot.clock.at, sub="marty", scope="check", client_id=ADVISOR), typ="at+jwt")
    data = await answered(hot, hot.agent(id=ADVISOR), user=user, **FRAUD)
    seen = json.dumps(data) + json.dumps(claims_of(data["token"]))
    private = hot.signer._private.private_numbers().private_value.to_bytes(32, "big")
    pem = hot.signer._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode().splitlines()[1]
    for secret in (user, *user.split("."), b64u(private), pem, hot.agent(id=ADVISOR).svid(hot.clock.at).split(".")[2]):
        assert secret not in seen


async def test_a_listed_tool_is_a_name() -> None:
    """INVARIANT: listing tools tells names and what they take, never where they live (promise 1).

    Answering with the registry's records would break it: endpoints are the broker's to read, at each call.
    """
    hot = HotPath()
    listed = json.loads(hot.gateway.tools(hot.agent().name, hot.clock.at))["data"]
    assert listed["tools"]
    assert not any(tool.endpoint in json.dumps(listed) or tool.resource in json.dumps(listed) for tool in hot.table.tools())
