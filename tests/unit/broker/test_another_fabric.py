"""Another Weft as the authorization server: our broker as its client, by its own metadata, in each way that it takes.

Nothing between them is made up but the network.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from schemas.authservers import Obtain
from schemas.facts import AuthorizationServer
from tests.support.identities import NOW
from tests.support.oauth import ISSUER, RESEARCHER, OAuthWorld, client, payload
from workers.broker.authservers.answers import AnswerRefused
from workers.broker.authservers.asking import Asker
from workers.broker.authservers.assertions import Names, Parties
from workers.broker.claims import fresh_id
from workers.broker.signer import TokenSigner
from workers.common.outbound import Answer

CRM = "https://crm.other.example"
BROKER = "spiffe://88mph.com/services/broker"


class Network:
    """Our broker's ways, ending at the other fabric's edge."""

    def __init__(self, other: OAuthWorld) -> None:
        self._other = other

    def http(self, server: AuthorizationServer) -> Network:
        return self

    async def svid(self, audience: str) -> str:
        return self._other.svid(BROKER, aud=audience)["client_assertion"]

    async def request(self, method: str, url: str, *, headers: Any = (), body: bytes = b"", **_: Any) -> Answer:
        async with self._other.http() as http:
            answer = await http.request(method, urlsplit(url).path, headers=dict(headers), content=body)
        return Answer(answer.status_code, tuple(answer.headers.items()), answer.content)


async def asked(other: OAuthWorld, auth: Any, client_id: str, by: Any = "client_credentials") -> tuple[Asker, AuthorizationServer, Any]:
    ours = other.keys["console"]  # the key that the other fabric knows of our broker
    asker = Asker(
        Network(other), TokenSigner(ours.private, ours.kid), Names(b"s" * 32), issuer="https://ours.example", now=lambda: float(NOW),
        fresh_id=fresh_id,
    )  # fmt: skip
    server = AuthorizationServer(
        name="other",
        owner="o",
        issuer=ISSUER,
        client_id=client_id,
        auth=auth,
        grants=(by,),
        resources=(CRM,),
        scopes=("ssf.*",),
        subject="same",
    )
    wanted = Obtain(server="other", by=by, scopes=("ssf.read",))
    got = await asker.token(server, wanted, Parties("marty", RESEARCHER, "t"), resource=CRM, exp=NOW + 60, seq=1)
    return asker, server, got


@pytest.fixture
async def other() -> Any:
    made = OAuthWorld()
    made.put(client("broker", made.keys["console"], scopes=["ssf.read"], resources=[CRM], ceilings={}, grant_types=["client_credentials"]))
    svid = {"auth_method": "spiffe_jwt", "spiffe_id": BROKER, "scopes": ["ssf.read"], "resources": [CRM], "ceilings": {}}
    made.put(client("by-svid", grant_types=["client_credentials"], **svid))
    yield made
    await made.recorder.close()


@pytest.mark.parametrize(("auth", "client_id"), [("private_key_jwt", "broker"), ("spiffe_jwt", "by-svid")])
async def test_client_credentials_by_its_metadata_and_revoked_there(other: OAuthWorld, auth: str, client_id: str) -> None:
    asker, server, got = await asked(other, auth, client_id)
    claims = payload(got.token)
    assert (claims["aud"], claims["scope"], claims["client_id"], got.life_s) == (CRM, "ssf.read", client_id, claims["exp"] - claims["iat"])
    await asker.revoke(server, got.token, 2)
    assert len(other.orders.ordered) == 1


async def test_a_client_that_it_does_not_know(other: OAuthWorld) -> None:
    with pytest.raises(AnswerRefused) as refused:
        await asked(other, "private_key_jwt", "stranger")
    assert str(refused.value) == "invalid_client, status 401"


async def test_a_grant_that_it_does_not_take(other: OAuthWorld) -> None:
    with pytest.raises(AnswerRefused) as refused:
        await asked(other, "private_key_jwt", "broker", "jwt_bearer")
    assert str(refused.value) == "unsupported_grant_type, status 400"
