"""Exchanges with an actor token: `front`, a service, serves an API and may bring agents' actor tokens; marty lets the researcher act."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx

from tests.support.oauth import FRONT, ISSUER, NOW, RESEARCHER, TYPE, OAuthWorld, client

API = "https://api.88mph.com"
ACCESS, JWT, SELF = f"{TYPE}access_token", f"{TYPE}jwt", f"{TYPE}self_signed"
AGENTS = "spiffe://88mph.com/agents/*"


def consent(agent: str = RESEARCHER, **changes: Any) -> dict[str, Any]:
    return {"kind": "relation", "subject": "user:marty", "relation": "delegates_to", "object": f"agent:{agent}", **changes}


def front(world: OAuthWorld, **changes: Any) -> dict[str, Any]:
    """`front`, changed."""
    rights = {"protects": [API], "resources": ["https://backend.88mph.com"], "actors": [AGENTS], "spiffe_id": FRONT}
    return client("front", world.keys["front"], **{**rights, **changes})


def begin(world: OAuthWorld) -> None:
    """The facts that the good exchange needs."""
    world.put(front(world), consent())


def svid(world: OAuthWorld, sub: str = RESEARCHER, **changes: Any) -> str:
    """A JWT-SVID for our issuer."""
    return world.svid(sub, **changes)["client_assertion"]


async def own_token(world: OAuthWorld, name: str = "researcher", scope: str = "web.search.execute", **form: Any) -> str:
    """What client_credentials gives a client for the fabric itself."""
    headers = form.pop("headers", {})
    answer = await world.post(
        "/oauth/token", {"grant_type": "client_credentials", "scope": scope, **world.proven(name), **form}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def self_signed(world: OAuthWorld, name: str = "front", **changes: Any) -> str:
    claims = {"iss": name, "sub": name, "aud": ISSUER, "iat": NOW, "exp": NOW + 60, "jti": uuid4().hex, **changes}
    return world.keys[name].sign({key: value for key, value in claims.items() if value is not None}, typ="JWT")


async def exchange(world: OAuthWorld, actor: str | None, kind: str | None = JWT, name: str = "front", **changes: Any) -> httpx.Response:
    """Marty's token for the API, with an actor token beside it, changed."""
    headers = changes.pop("headers", {})
    subject = {"subject_token": world.person(aud=API, client_id="app"), "subject_token_type": ACCESS}
    form = world.exchange(name, **{**subject, "actor_token": actor, "actor_token_type": kind, **changes})
    return await world.post("/oauth/token", form, headers=headers)


async def granted(world: OAuthWorld, actor: str | None, kind: str | None = JWT, name: str = "front", **changes: Any) -> str:
    answer = await exchange(world, actor, kind, name, **changes)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def refused(world: OAuthWorld, actor: str | None, kind: str | None = JWT, name: str = "front", **changes: Any) -> tuple[str, str]:
    """The error, and the reason on record."""
    answer = await exchange(world, actor, kind, name, **changes)
    assert answer.status_code == 400, answer.text
    return answer.json()["error"], (await world.records())[-1]["data"]["reason"]
