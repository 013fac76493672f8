"""The egress on a real fabric: a raw secret serves the call, and none but broker, egress (for one request) and upstream see it."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import weakref
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from weft.digest import b64u

from config.settings import OutboundPrivate
from schemas.commands import Change, Revoke
from schemas.facts import Kind
from schemas.points import Failure
from schemas.reasons import DenyReason
from schemas.record import RELEASED as RELEASED_EVENT
from schemas.record import USED
from schemas.vault import RELEASE, RELEASED, Release, Released
from streams import subjects
from streams.bus import event
from tests.support.custody import custodian
from tests.support.egressing import OTHER, TOOL, WORKERS, Egressing, secret_in, tool, until, upstream
from tests.support.fabric import FabricServer, fabric_key
from tests.support.forms import CODINGS, FORMS, found
from tests.support.invoking import Invoking
from workers.common.asking import ask
from workers.common.operator_client import Refused
from workers.egress import releases
from workers.egress.room import PER_CALLER
from workers.supervisor.waiting import free_port

SECRET, OTHER_SECRET = "sk-live/A+b&c=9~Zq7\"x'<y>", "other-secret-0123456789"


@pytest.fixture
async def here(fabric_server: FabricServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Egressing]:
    changes = {"egress_port": free_port(), "outbound_private": OutboundPrivate(upstreams=("127.0.0.0/8",))}
    fabric_server.settings = fabric_server.settings.model_copy(update=changes)
    invoking = Invoking(fabric_server)
    await invoking.write_world()
    async with upstream() as up, invoking.workers(*WORKERS) as apps:
        keymaster = await custodian(fabric_server, monkeypatch)
        host = ("--host", f"127.0.0.1:{up.port}")
        await keymaster.weft("vault", "put", "search-key", *host, stdin=SECRET.encode())
        await keymaster.weft("vault", "put", "other-key", *host, stdin=OTHER_SECRET.encode())
        await fabric_server.put_facts(tool(TOOL, fabric_server, up, "search-key"), tool(OTHER, fabric_server, up, "other-key"))
        agent = invoking.agent()
        made = Egressing(invoking, up, keymaster, await invoking.connect(agent), agent, apps)
        await until(lambda: _attached(made))
        yield made
        await made.http.aclose()


async def _attached(here: Egressing) -> bool:
    broker, egress = (next(app for app in here.apps if app.runtime.worker == name) for name in ("broker", "egress"))
    return egress.runtime.detail()["tools"] == 2 and broker.runtime.facts.table.tool(TOOL).egress is not None


async def streams_of(server: FabricServer) -> bytes:
    """Every byte of every stream."""
    nc, held = await server.worker("topology", **fabric_key(server.settings)), []
    for stream in ("FACTS", "SIGNALS", "REVOCATIONS", "RECORD", "CLAIMS"):
        state = json.loads((await nc.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=2)).data)["state"]
        for seq in range(state["first_seq"], state["last_seq"] + 1):
            answer = await nc.request(f"$JS.API.DIRECT.GET.{stream}", json.dumps({"seq": seq}).encode(), timeout=2)
            held += [answer.data, str(answer.headers).encode()]
    await nc.close()
    return b"".join(held)


async def test_a_call_goes_through_with_the_credential_and_without_the_token(here: Egressing) -> None:
    body = b'{"q": "flux"}'
    headers = {"Authorization": "Bearer mine", "Cookie": "c=1", "X-HTTP-Method-Override": "DELETE", "Content-Type": "application/json"}
    got = await here.call("POST", "/ok", body, headers=headers)
    assert got.response.status_code == 200
    assert json.loads(got.raw) == {"method": "POST", "target": "/v1/ok"}
    (head,) = here.upstream.heads
    lines = head.decode().lower().split("\r\n")
    assert f"x-api-key: {SECRET}".lower() in lines
    assert not any(line.startswith(("txn-token", "authorization", "cookie", "x-http-method")) for line in lines)
    assert here.upstream.bodies == [body]
    assert (got.granted.token or "x") not in head.decode()
    used = [kept["data"] for _, kept in await here.invoking.record() if kept["type"] == USED]
    assert [(one["tool"], one["accepted"], one["outcome"]) for one in used] == [(TOOL, True, "positive")]
    assert got.response.headers["weft-record"]
    on_record = [kept["data"] for _, kept in await here.invoking.record() if kept["type"] == RELEASED_EVENT]
    assert len(on_record) == 1
    released = on_record[0]
    assert (released["tool"], released["credential"], released["version"], released["jti"]) == (TOOL, "search-key", 1, used[0]["jti"])
    await here.keymaster.weft("vault", "rotate", "search-key", stdin=b"the-second-secret")
    await here.call("GET", "/ok")
    assert [secret_in(head) for head in here.upstream.heads] == [SECRET, "the-second-secret"]


async def test_no_byte_of_a_secret_reaches_an_agent_a_log_or_a_stream(here: Egressing, caplog, capfd) -> None:
    """INVARIANT: whatever an upstream answers, no agent, no log and no stream holds the credential that it was called with (promise 1).

    Passing an answer on as it came, looking at each chunk alone, or only at what is not compressed would break it; so would an error that
    quotes what it was about.
    """
    caplog.set_level(logging.DEBUG)
    seen: list[bytes] = []
    codings = itertools.cycle(CODINGS)
    for name in FORMS:
        for query in ("?piece=1", f"?coding={next(codings)}&piece=7"):
            got = await here.call("GET", f"/echo/{name}{query}")
            assert got.response.status_code == 200
            assert b'{"error": "bad key ' in got.raw
            assert b"*" * 16 in got.raw
            assert found(SECRET, got.raw) == [], (name, query)
            seen += [got.raw, str(got.response.headers.raw).encode()]
    odd = (
        "/headers",
        *(f"/status/{status}" for status in (401, 302, 500, 404, 407)),
        "/half",
        "/coded/gzip",
        "/coded/zstd",
        "/large/200000",
    )
    for path in odd:
        try:
            got = await here.call("GET", path)
        except httpx.RemoteProtocolError:  # cut off, since it could not be ended
            continue
        seen += [got.raw, str(got.response.headers.raw).encode()]
    assert found(SECRET, b"\n".join(seen)) == []
    assert any(b"set-cookie" in one.lower() for one in seen) is False
    printed = "".join(capfd.readouterr())
    assert found(SECRET, caplog.text.encode() + printed.encode()) == []
    assert found(SECRET, await streams_of(here.invoking.server)) == []
    assert any(SECRET.encode() in head for head in here.upstream.heads)


async def test_what_an_upstream_may_not_tell_the_caller(here: Egressing) -> None:
    told = {
        "/status/302": (502, "upstream_redirected"),
        "/status/401": (502, "upstream_unauthenticated"),
        "/coded/zstd": (502, "upstream_coding"),
        "/status/500": (500, None),
        "/status/304": (304, None),
    }
    for number, (path, (status, error)) in enumerate(told.items(), 1):
        got = await here.call("GET", path)
        assert got.response.status_code == status, path
        assert error is None or json.loads(got.raw) == {"error": error}
        assert len(here.upstream.heads) == number  # nobody followed


async def test_limits_end_an_answer_and_a_request(here: Egressing) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await here.call("GET", "/large/200000")
    assert len((await here.call("GET", "/large/99999")).raw) == 99_999
    assert (await here.call("POST", "/ok", b"x" * 1001)).response.status_code == 413
    with pytest.raises(httpx.RemoteProtocolError):  # it never ends, and its time is up
        await here.call("GET", "/hold")
    assert found(SECRET, b"".join(here.upstream.bodies)) == []


async def test_a_body_that_no_token_binds_streams_through(here: Egressing) -> None:
    """Verifies that a large upload is not held in memory, and ends at the record's limit; a token that binds the body is not for here."""
    server, bound = here.invoking.server, await here.grant("POST", "/ok", b"x" * 1000)
    await server.put_facts(
        tool(TOOL, server, here.upstream, "search-key", bind=["method", "path"], egress={"max_request_bytes": 3_000_000})
    )
    broker, egress = (next(app for app in here.apps if app.runtime.worker == name) for name in ("broker", "egress"))

    async def known() -> bool:
        return (
            "body" not in broker.runtime.facts.table.tool(TOOL).bind
            and (await here.present(bound, "POST", "/ok", b"x" * 1000)).response.status_code == 403
        )

    await until(known)
    body = bytes(range(256)) * 8000
    got = await here.call("POST", "/ok", body)
    assert got.response.status_code == 200
    assert here.upstream.bodies[-1] == body
    assert (await here.call("POST", "/ok")).response.status_code == 200
    assert (await here.call("POST", "/ok", b"x" * 3_000_001)).response.status_code == 413
    assert egress.runtime.fit()


async def test_one_caller_does_not_take_every_connection_and_who_leaves_frees_the_upstream(here: Egressing) -> None:
    """Verifies that slow calls of one agent end at its share, and that nobody goes on fetching for a caller that has gone."""
    server = here.invoking.server
    await server.put_facts(tool(TOOL, server, here.upstream, "search-key", egress={"timeout_s": 30, "idle_s": 30}))
    egress = next(app for app in here.apps if app.runtime.worker == "egress")
    room = egress.runtime.fit.__self__._room
    await until(lambda: _record_is(egress, 30))
    granted = await here.grant("GET", "/hold")
    request = here.http.build_request("GET", f"{granted.endpoint}/hold", headers={"Txn-Token": granted.token or ""})
    held = [await here.http.send(request, stream=True) for _ in range(PER_CALLER)]
    one_more = await here.call("GET", "/ok")
    assert (one_more.response.status_code, json.loads(one_more.raw)) == (429, {"error": "too_many_in_flight"})
    for response in held:
        await response.aclose()

    async def free() -> bool:
        return not room._held

    await until(free)
    assert (await here.call("GET", "/ok")).response.status_code == 200


async def _record_is(egress: Any, timeout_s: int) -> bool:
    guard = egress.runtime.fit.__self__._guard
    return guard.tools[TOOL].record["egress"]["timeout_s"] == timeout_s


async def test_only_what_the_record_says_is_called(here: Egressing) -> None:
    granted = await here.grant("GET", "/ok")
    for method, path in (("DELETE", "/ok"), ("PUT", "/ok"), ("POST", "/other")):
        assert (await here.present(granted, method, path)).response.status_code == 404
    for path in ("/%2e%2e/admin", "/a%2f..%2fadmin", "/a//b", "/a\\b"):
        status = await _raw_status(here, f"/{TOOL}{path}", granted.token or "")
        assert status == 400, path
    assert (await here.present(granted, "GET", "/elsewhere")).response.status_code == 403  # another call than the token's
    assert (await here.http.get(f"{here.url}/nothing/ok", headers={"Txn-Token": granted.token or ""})).status_code == 404
    assert (await here.http.get(f"{here.url}/{TOOL}/ok")).status_code == 401
    other = await here.grant("GET", "/ok", tool=OTHER)
    assert (await here.http.get(f"{here.url}/{TOOL}/ok", headers={"Txn-Token": other.token or ""})).status_code == 403
    assert here.upstream.heads == []


async def _raw_status(here: Egressing, target: str, token: str) -> int:
    """The path as it stands: a client would tidy it."""
    port = here.invoking.server.settings.egress_port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nTxn-Token: {token}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ")[1])


async def test_a_broker_releases_a_credential_for_its_own_tools_live_token_alone(here: Egressing) -> None:
    """INVARIANT: with the egress's own credential nothing is had but what the shown token's tool needs, while that token lives.

    A broker that believes the egress's word for the tool, the credential or the token's life would break it.
    """
    egress = next(app for app in here.apps if app.runtime.worker == "egress")
    name = "i" + "z" * 26 + ".88mph~com.weft.egress"
    mine, other = await here.grant("GET", "/ok"), await here.grant("GET", "/ok", tool=OTHER)

    async def asked(token: str, wanted: str) -> Released | Failure:
        body = event(RELEASE, Release(token=token, tool=wanted, box_key=b64u(bytes(range(32)))), source="/test")
        return await ask(egress.runtime.nc, subjects.RELEASE.at(name), body, RELEASED, Released, deadline_s=3)

    assert isinstance(await asked(mine.token or "", TOOL), Released)
    forged = f"{(mine.token or '')[:-6]}AAAAAA"
    for token, wanted, reason in (
        (mine.token, OTHER, DenyReason.NOT_AUTHORIZED),
        (other.token, TOOL, DenyReason.NOT_AUTHORIZED),
        (mine.token, "payments-processing", DenyReason.TOOL_UNKNOWN),
        (forged, TOOL, DenyReason.PARENT_INVALID),
    ):
        answer = await asked(token or "", wanted)
        assert isinstance(answer, Failure)
        assert answer.reason is reason
    await here.keymaster.weft("keys", "list")
    revoke = {"id": "r1", "kind": "transaction", "value": mine.txn, "agent": here.agent.id, "reason": "test"}
    await here.keymaster.client.revoke(Revoke(**revoke))

    async def refused() -> bool:
        answer = await asked(mine.token or "", TOOL)
        return isinstance(answer, Failure) and answer.reason is DenyReason.REVOKED

    await until(refused)
    assert (await here.present(mine, "GET", "/ok")).response.status_code == 403
    with pytest.raises(Exception, match=r"NoResponders|TimeoutError|Unanswered"):  # an agent, a tool or an operator has no such subject
        await ask(here.nc, subjects.RELEASE.at(here.agent.name), b"{}", RELEASED, Released, deadline_s=0.3)


async def test_a_credential_for_another_host_stays_in_the_vault(here: Egressing) -> None:
    """Verifies that whoever registers a tool cannot have a credential sent where its custodian did not say."""
    async with upstream() as elsewhere:
        await here.invoking.server.put_facts(tool(TOOL, here.invoking.server, elsewhere, "search-key"))
        broker = next(app for app in here.apps if app.runtime.worker == "broker")

        async def known() -> bool:
            return str(elsewhere.port) in broker.runtime.facts.table.tool(TOOL).egress.upstream

        await until(known)
        got = await here.call("GET", "/ok")
        assert (got.response.status_code, json.loads(got.raw)) == (503, {"error": "credential_not_authorized"})
        assert elsewhere.heads == []


async def test_a_revoked_call_ends_while_it_streams(here: Egressing) -> None:
    granted = await here.grant("GET", "/hold")
    request = here.http.build_request("GET", f"{granted.endpoint}/hold", headers={"Txn-Token": granted.token or ""})
    response = await here.http.send(request, stream=True)
    parts = response.aiter_raw()
    assert await anext(parts) == b"begin"
    order = Revoke(id="r2", kind="transaction", value=granted.txn, agent=here.agent.id, reason="test")
    await here.keymaster.client.revoke(order)
    with pytest.raises(httpx.RemoteProtocolError):
        async with asyncio.timeout(4):
            await anext(parts)
    await response.aclose()


async def test_a_secret_is_overwritten_when_its_call_is_over(here: Egressing, monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: the egress holds a credential for one request, and no longer.

    A cache, a log record or a request object that lives on would break it.
    """
    made: list[Any] = []
    kept: list[bytearray] = []

    class Watched(releases.Secret):
        __slots__ = ()

        def __init__(self, value: bytes) -> None:
            super().__init__(value)
            made.append(weakref.ref(self))
            kept.append(self.value)

    monkeypatch.setattr(releases, "Secret", Watched)
    for path in ("/ok", "/status/401", "/echo/plain"):
        await here.call("GET", path)
    with pytest.raises(httpx.RemoteProtocolError):
        await here.call("GET", "/half")
    gc.collect()
    assert len(made) == 4
    assert [ref() for ref in made] == [None] * 4
    assert {bytes(value) for value in kept} == {bytes(len(SECRET))}


async def test_the_registry_wants_the_egress_where_it_is_and_the_host_that_the_custodian_named(here: Egressing) -> None:
    server, up = here.invoking.server, here.upstream
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"workload": "spiffe://88mph.com/tools/x"}, "workload of a tool behind the egress"),
        ({"endpoint": "http://127.0.0.1:1/x"}, "endpoint of a tool behind the egress"),
        ({"egress": {"upstream": "http://127.0.0.1:9999"}}, "is for 127.0.0.1"),
        ({"egress": {"upstream": "http://169.254.169.254/latest"}}, "egress.upstream"),
        ({"egress": {"credential": "nothing"}}, "weft vault put"),
        ({"egress": {"routes": [{"method": "GET", "path": "/x", "actions": ["other"]}]}}, "does not offer"),
        ({"egress": {"inject": {"by": "header"}}}, "egress.inject"),
        ({"egress": {"inject": {"by": "header", "name": "Host"}}}, "not ours to set"),
        ({"token_form": "access_token"}, "token_form"),
    ]
    for changes, text in wrong:
        body = tool(TOOL, server, up, "search-key", **changes)
        with pytest.raises(Refused, match=text):
            await here.keymaster.client.apply([Change(kind=Kind.TOOL, key=TOOL, body=body)])
    await here.keymaster.client.apply([Change(kind=Kind.TOOL, key=TOOL, body=tool(TOOL, server, up, "search-key"))])
