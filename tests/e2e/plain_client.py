"""The user's own way in: nats-py and the standard library alone, written from docs/contracts/.  Nothing of Weft is imported.

    plain_client.py invoke URL SEED SVID TOOL ACTION PURPOSE PATH BODY
    plain_client.py follow URL SEED COUNT
    plain_client.py replay URL SEED

Prints JSON lines.
"""

import asyncio
import base64
import hashlib
import json
import sys
import time
import uuid

import nats
import nkeys

HEADERS = {"Content-Type": "application/cloudevents+json"}


def b64u(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def digest(data):
    return b64u(hashlib.sha256(data).digest())


def event(kind, source, data):
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    envelope = {"specversion": "1.0", "id": uuid.uuid4().hex, "source": source, "type": kind, "time": now, "data": data}
    return json.dumps(envelope).encode()


def claims_of(jws):
    payload = jws.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def name_of(svid, public):
    claims = claims_of(svid)
    instance = claims.get("weft_instance") or "k" + public[1:27].lower()
    return instance + "." + ".".join(part.replace(".", "~") for part in claims["sub"].removeprefix("spiffe://").split("/"))


async def connect(url, seed, token, name):
    inbox = f"_INBOX.{name}"
    return await nats.connect(url, nkeys_seed_str=seed, token=token, inbox_prefix=inbox, connect_timeout=5, allow_reconnect=False)


async def invoke(url, seed, svid, tool, action, purpose, path, body):
    key = nkeys.from_seed(seed.encode())
    public = key.public_key.decode()
    name = name_of(svid, public)
    header = b64u(json.dumps({"alg": "EdDSA", "typ": "weft-request+jwt", "kid": public}).encode())
    asked = {
        "id": uuid.uuid4().hex,
        "tool": tool,
        "actions": [action],
        "purpose": purpose,
        "call": {"method": "POST", "path": digest(path.encode()), "body": digest(body.encode())},
        "iat": int(time.time()),
    }
    signing_input = header + "." + b64u(json.dumps(asked).encode())
    request = signing_input + "." + b64u(key.sign(signing_input.encode()))
    nc = await connect(url, seed, f"agent {svid}", name)
    message = event("org.weft.invocation.requested.v1", claims_of(svid)["sub"], {"request": request, "svid": svid})
    answer = await nc.request(f"weft.invoke.{name}", message, timeout=5, headers=HEADERS)
    print(answer.data.decode(), flush=True)
    await nc.close()


async def follow(url, seed, count):
    public = nkeys.from_seed(seed.encode()).public_key.decode()
    nc = await connect(url, seed, "operator", public)
    subscription = await nc.subscribe("weft.push.revocation.entry")
    await nc.flush()
    print(json.dumps({"following": True}), flush=True)
    for _ in range(int(count)):
        message = await subscription.next_msg(timeout=20)
        print(json.dumps(claims_of(json.loads(message.data)["data"]["jws"])), flush=True)
    await nc.close()


async def replay(url, seed):
    public = nkeys.from_seed(seed.encode()).public_key.decode()
    nc = await connect(url, seed, "operator", public)
    after = 0
    while after is not None:
        question = event("org.weft.query.v1", "plain-client", {"what": "replay", "after": after, "limit": 100})
        answer = json.loads((await nc.request(f"weft.query.audit.{public}", question, timeout=5, headers=HEADERS)).data)["data"]
        for row in answer["rows"]:
            print(json.dumps({"seq": row["seq"], "type": row["event"]["type"]}), flush=True)
        after = answer.get("next") if answer["rows"] else None
    await nc.close()


asyncio.run({"invoke": invoke, "follow": follow, "replay": replay}[sys.argv[1]](*sys.argv[2:]))
