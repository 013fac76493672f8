"""Verifies that nats-py and `json` alone are enough: a program that imports nothing of Weft invokes, follows revocations, replays."""

import asyncio
import json
import sys
import time
import uuid
from pathlib import Path

import jwt
from weft.nkey import KeyPair

from schemas.commands import Revoke
from streams.keys import load_or_create

CLIENT = Path(__file__).with_name("plain_client.py")
RESEARCHER = "spiffe://88mph.com/agents/einstein-research"


def svid_for(scene, key):
    signer = load_or_create(scene.stage.settings, "svid")
    claims = {
        "sub": RESEARCHER,
        "aud": f"weft:88mph.com:{key.public}",
        "iat": int(time.time()),
        "exp": int(time.time()) + 120,
        "jti": uuid.uuid4().hex,
    }
    return jwt.encode({**claims, "weft_assurance": "development"}, signer.private, "ES256", {"kid": signer.kid, "typ": "JWT"})


async def plain(*arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable, str(CLIENT), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def finished(process):
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, err.decode()[-2000:]
    return [json.loads(line) for line in out.splitlines()]


async def test_invokes_follows_and_replays(scene):
    url, operator_seed = scene.stage.settings.servers[0], (scene.stage.state / "operators" / "operator.seed").read_text().strip()
    key = KeyPair("U")
    follower = await plain("follow", url, operator_seed, "1")
    assert json.loads(await asyncio.wait_for(follower.stdout.readline(), 15)) == {"following": True}

    asked = ("search-agent", "delegate", "web.search.execute", "/delegate", '{"query":"flux"}')
    (answer,) = await finished(await plain("invoke", url, key.seed, svid_for(scene, key), *asked))
    assert answer["type"] == "org.weft.invocation.granted.v1", answer
    assert answer["data"]["endpoint"].startswith("http://127.0.0.1:")

    order = Revoke(id="scenario", kind="transaction", value=answer["data"]["txn"], agent=RESEARCHER, reason="scenario")
    await scene.stage.operator.revoke(order)
    (entry,) = await finished(follower)
    assert entry["n"] == 1
    assert entry["targets"][0]["kind"] == "transaction"

    kinds = [row["type"] for row in await finished(await plain("replay", url, operator_seed))]
    assert "org.weft.record.issued.v1" in kinds
    assert "org.weft.record.revoked.v1" in kinds
