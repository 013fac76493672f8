"""A receiver's whole way, as docs/shared-signals.md tells it: its own key, a token, a stream, a signal."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from schemas.events import CAEP
from tests.support.receiving import CLIENT_KEY, POLL, RECEIVER, Stage, stage
from workers.broker import app as broker


def proven(ssf: Stage) -> dict[str, str]:
    """private_key_jwt, RFC 7523."""
    now = int(time.time())
    claims = {
        "iss": RECEIVER, "sub": RECEIVER, "aud": ssf.server.settings.issuer, "iat": now, "exp": now + 60, "jti": uuid.uuid4().hex,
    }  # fmt: skip
    assertion = CLIENT_KEY.sign(claims, typ="client-authentication+jwt")
    return {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion": assertion}


async def token(ssf: Stage, scope: str, **more: str) -> Any:
    """client_credentials."""
    form = {"grant_type": "client_credentials", "scope": scope, **proven(ssf), **more}
    return await ssf.http.post(f"{ssf.base}/oauth/token", data=form)


@pytest.mark.parametrize("named", [True, False], ids=["for the transmitter", "for the fabric"])
async def test_a_receiver_gets_a_token_makes_a_stream_and_hears(tmp_path: Path, *, named: bool) -> None:
    """Verifies that a token of the token endpoint opens the API to the scope it was given, and stops when it is revoked."""
    async with stage(tmp_path, broker.build) as ssf:
        resource = ssf.metadata["issuer"]
        if named:
            held = ssf.views[0].table.client(RECEIVER)
            put = await ssf.server.put_facts(held.model_copy(update={"resources": (resource,)}))
            await ssf.server_has(put.seq)
        got = await token(ssf, "ssf.manage", **({"resource": resource} if named else {}))
        assert got.status_code == 200, got.text
        bearer = got.json()["access_token"]
        made = await ssf.ask("POST", ssf.metadata["configuration_endpoint"], bearer, json={"delivery": {"method": POLL}})
        assert made.status_code == 201, made.text
        stream = made.json()
        await ssf.command(what="emit", event=f"{CAEP}session-revoked", subject={"format": "email", "email": "ann@example.com"})
        ((_, compact),) = (await ssf.poll(stream, bearer, returnImmediately=False)).json()["sets"].items()
        claims = await ssf.decode(stream, compact)
        assert claims["aud"] == RECEIVER

        reading = (await token(ssf, "ssf.read")).json()["access_token"]
        params = {"stream_id": stream["stream_id"]}
        assert (await ssf.ask("GET", ssf.metadata["configuration_endpoint"], reading, params=params)).status_code == 200
        assert (await ssf.ask("DELETE", ssf.metadata["configuration_endpoint"], reading, params=params)).status_code == 403

        ended = await ssf.http.post(f"{ssf.base}/oauth/revoke", data={"token": bearer, **proven(ssf)})
        assert ended.status_code == 200, ended.text
        async with asyncio.timeout(5):
            while (answer := await ssf.ask("GET", ssf.metadata["configuration_endpoint"], bearer)).status_code != 401:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
