"""Verifies that one agent's call works in every form a tool's record may ask for, over real parts, and that no form stands in for another.

The programs are those of the demonstration: an agent with its SDK, a tool behind the SDK's guard, each a process of its own.
"""

import asyncio
import base64
import json
import sys
import time
from contextlib import asynccontextmanager

import httpx
from spiffe import JwtBundle, JwtSvid, TrustDomain

from schemas.facts import Kind, Tool
from workers.demo.scene import ADVISOR, MARTY, REFUND, RESEARCHER

WEB_SEARCH = "spiffe://88mph.com/tools/web-search"
ASK = {"tool": "web-search", "actions": ["search"], "purpose": "web.search.execute", "path": "/search"}
BODY = {"query": "flux capacitor"}
FORMS = {
    "txn, with proof": {"token_form": "txn", "proof": "dpop"},
    "access token": {"token_form": "access_token", "proof": None},
    "access token, with proof": {"token_form": "access_token", "proof": "dpop"},
    "resource": {"token_form": "resource", "proof": None},
    "the caller's SVID": {"token_form": "jwt_svid", "proof": None},
    "txn": {"token_form": "txn", "proof": None},
}


async def record(scene, **changes) -> Tool:
    """The tool's record, changed."""
    tool = await scene.fact(Kind.TOOL, "web-search")
    changed = tool.model_copy(update={"chain": (), **changes})
    await scene.put(changed, reason="scenario")
    return changed


def claims_of(token):
    head, payload, _ = token.split(".")
    return [json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in (head, payload)]


def is_of(form, token):
    """Whether it is what a tool of that form takes, as far as the token shows it."""
    header, claims = claims_of(token)
    typ = "at+jwt" if form["token_form"] == "access_token" else "txntoken+jwt"
    leaf = form["token_form"] in ("access_token", "resource")
    bound = form["token_form"] != "access_token" or (form["proof"] is not None) == ("cnf" in claims)
    return (header["typ"], claims["aud"].startswith("https://")) == (typ, leaf) and bound


async def until(told, wanted, within_s=20):
    """What is told, once it is what is wanted: views and guards hear of a changed record a moment after it was written."""
    async with asyncio.timeout(within_s):
        while not wanted(said := await told()):  # noqa: ASYNC110 - others' views are asked for, there is no event
            await asyncio.sleep(0.05)
    return said


async def post(endpoint, headers):
    """A thief's request."""
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        content = json.dumps(BODY, separators=(",", ":")).encode()
        answer = await http.post(f"{endpoint}/search", content=content, headers={"Content-Type": "application/json", **headers})
    return answer.status_code, answer.json().get("error")


def shown(token):
    """As a thief would show it."""
    return {"Authorization": f"Bearer {token}"} if claims_of(token)[0]["typ"] == "at+jwt" else {"Txn-Token": token}


async def test_every_form_is_served_and_none_stands_in_for_another(scene):
    """INVARIANT: a tool takes tokens of the form that its record names, and of no other.

    Broken by a guard that takes whatever verifies.
    """
    stage = scene.stage
    await record(scene)
    arguments = ("web-search", str(stage.ports["web_search"]), str(stage.ledger("web")))
    await stage.launch(WEB_SEARCH, "tool.py", *arguments, title="web-search")
    agent = await stage.launch(RESEARCHER, "agent.py", title="researcher")
    endpoint = f"http://127.0.0.1:{stage.ports['web_search']}"
    held = {}
    for name, form in FORMS.items():
        await record(scene, **form)
        answer = await until(lambda: agent.ask("call", **ASK, body=BODY), lambda a, f=form: a.get("status") == 200 and is_of(f, a["token"]))
        (line,) = [line for line in stage.served("web") if line["txn"] == answer["txn"]]
        assert (line["agent"], line["sub"]) == (RESEARCHER, RESEARCHER), name
        if form["proof"] is not None:
            await until(lambda a=answer: post(endpoint, shown(a["token"])), lambda said: said == (401, "proof_missing"))
        if form["token_form"] == "jwt_svid":
            await until(lambda a=answer: post(endpoint, shown(a["token"])), lambda said: said == (401, "svid_invalid"))
            me = await agent.ask("who")
            with_the_connections = {**shown(answer["token"]), "Authorization": f"Bearer {me['svid']}"}
            assert await post(endpoint, with_the_connections) == (401, "svid_invalid")
        for other, token in held.items():
            if not is_of(form, token):
                status, error = await post(endpoint, shown(token))
                assert status == 401, (name, other, error)
                assert error in ("token_audience", "token_signature", "proof_missing"), (name, other)
        held[name] = answer["token"]


@asynccontextmanager
async def plain_tool():
    """A tool that knows nothing of Weft: its address, and the headers of what it was sent."""
    seen = []

    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append({name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:] if line)})
        await reader.readexactly(int(seen[-1].get("content-length", "0")))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen


async def test_a_tool_without_a_guard_verifies_the_svid_as_anyone_would(scene):
    """The decision is made and recorded; what the tool sees is the SVID alone, which PyPI's client verifies."""
    async with plain_tool() as (endpoint, seen):
        tool = await record(scene, endpoint=endpoint, token_form="jwt_svid", revocation="introspection")
        agent = await scene.stage.launch(RESEARCHER, "agent.py", title="researcher")
        answer = await until(lambda: agent.ask("call", **ASK, body=BODY), lambda a: a.get("status") == 200)
        assert answer["token"] is None
        (headers,) = seen
        assert "txn-token" not in headers, "a Transaction Token stays within the trust domain"
        rows = (await scene.stage.operator.query(what="list", kind=Kind.KEY)).rows
        jwks = [
            {**row["fact"]["body"]["jwk"], "kid": row["fact"]["body"]["kid"], "use": "jwt-svid"}
            for row in rows
            if row["key"].startswith("svid")
        ]
        bundle = JwtBundle.parse(TrustDomain("88mph.com"), json.dumps({"keys": jwks}).encode())
        svid = JwtSvid.parse_and_validate(headers["authorization"].removeprefix("Bearer "), bundle, {tool.resource})
        assert str(svid.spiffe_id) == RESEARCHER
        explained = await scene.stage.operator.explain(answer["txn"])
        assert [row["claims"]["call"]["tool"] for row in explained.rows if "claims" in row] == ["web-search"]


async def weft(scene, *arguments):
    """The command line, as the operator."""
    command = [sys.executable, "-m", "workers.cli.main", "--json", *arguments, "--dir", str(scene.stage.state)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await process.communicate()
    return process.returncode, json.loads(out or err)


async def test_a_consent_is_given_used_listed_and_withdrawn(scene):
    """The agent acts for the person while the consent holds, for what it says, and not a call longer."""
    advisor = await scene.stage.launch(ADVISOR, "agent.py", title="advisor")
    ask = {"tool": "fraud-check", "actions": ["check"], "purpose": "process.refund", "path": "/check", "body": REFUND}

    async def granted():
        return (await advisor.ask("invoke", **ask, user_token=scene.user_token()))["granted"]

    status, _ = await weft(scene, "consent", "withdraw", MARTY, ADVISOR)
    assert status == 0
    await until(granted, lambda said: said is False)
    status, given = await weft(scene, "consent", "give", MARTY, ADVISOR, "--action", "check", "--purpose", "process.*", "--for", "15m")
    assert (status, given["actions"], given["purposes"]) == (0, ["check"], ["process.*"])
    assert 800 < given["expires_at"] - time.time() <= 901
    await until(granted, lambda said: said is True)
    answer = await advisor.ask("invoke", **ask, user_token=scene.user_token())
    status, withdrawn = await weft(scene, "consent", "withdraw", MARTY, ADVISOR, "--reason", "scenario")
    assert (status, len(withdrawn["entries"]) >= 1) == (0, True)
    found, _ = await scene.stage.operator.tokens(what="reach", target="user", value=MARTY)
    assert found["live"] == 0, answer["txn"]
    await weft(scene, "consent", "give", MARTY, ADVISOR, "--action", "check", "--purpose", "process.*", "--for", "15m")
    status, listed = await weft(scene, "consent", "list", "--user", MARTY)
    assert (status, [(row["user"], row["agent"], row["actions"]) for row in listed]) == (0, [(MARTY, ADVISOR, "check")])
    status, _ = await weft(scene, "consent", "give", MARTY, ADVISOR, "--purpose", "web.*", "--for", "ever")
    await until(granted, lambda said: said is False)
    status, refused = await weft(scene, "consent", "give", MARTY, "spiffe://88mph.com/agents/nobody", "--for", "ever")
    assert (status, refused["error"]) == (1, "invalid_change")
