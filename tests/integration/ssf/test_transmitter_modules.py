"""The OpenID Foundation's conformance modules for transmitters, one test each and named after it, over real HTTPS.

`openid-ssf-` is left out of the names.  The suite's own checks of a SET are `Stage.decode`'s.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
import pytest_asyncio

from schemas.events import CAEP, SSF
from tests.support.receiving import POLL, PUSH, STRANGER, Sink, Stage, stage

pytestmark = pytest.mark.asyncio(loop_scope="module")
INTEROP = [f"{CAEP}{name}" for name in ("session-revoked", "credential-change", "device-compliance-change")]
QUIET_S = 1.0  # the suite waits for twenty
UNKNOWN = "0" * 32


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ssf(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with stage(tmp_path_factory.mktemp("ssf")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def sink() -> AsyncIterator[Sink]:
    async with Sink().open() as opened:
        yield opened


def push_to(sink: Sink, header: str | None = "Bearer stream-1-secret") -> dict[str, Any]:
    return {"method": PUSH, "endpoint_url": sink.url, **({} if header is None else {"authorization_header": header})}


POLLED = {"method": POLL}


async def verified(ssf: Stage, stream: dict[str, Any], compact: str, state: str | None) -> None:
    """One verification event, as the suite checks it."""
    claims = await ssf.decode(stream, compact)
    assert claims["sub_id"] == {"format": "opaque", "id": stream["stream_id"]}
    assert claims["events"] == {f"{SSF}verification": {} if state is None else {"state": state}}


async def test_transmitter_metadata(ssf: Stage) -> None:
    document = await ssf.ask("GET", f"{ssf.base}/.well-known/ssf-configuration/tenant", None)
    assert (document.status_code, document.headers["content-type"]) == (200, "application/json")
    metadata = document.json()
    assert metadata["issuer"] == f"{ssf.base}/tenant/"
    assert (metadata["spec_version"], metadata["default_subjects"]) == ("1_0", "ALL")
    assert metadata["delivery_methods_supported"] == [PUSH, POLL]
    assert {"spec_urn": "urn:ietf:rfc:6749"} in metadata["authorization_schemes"]
    endpoints = ("jwks_uri", "configuration_endpoint", "status_endpoint", "verification_endpoint")
    for name in (*endpoints, "add_subject_endpoint", "remove_subject_endpoint"):
        assert urlsplit(metadata[name]).scheme == "https"
    assert [] not in metadata.values()
    keys = (await ssf.ask("GET", metadata["jwks_uri"], None)).json()["keys"]
    assert {key["kty"] for key in keys} == {"EC", "RSA"}
    assert all(key["use"] == "sig" and key["alg"] in ("ES256", "RS256") and "d" not in key for key in keys)
    assert (await ssf.ask("GET", f"{ssf.base}/.well-known/ssf-configuration", None)).status_code == 404, "the issuer has a path"


@pytest.mark.parametrize("mode", ["push", "poll"])
async def test_stream_control_happy_path(ssf: Stage, sink: Sink, mode: str) -> None:
    delivery = push_to(sink) if mode == "push" else POLLED
    made = await ssf.create(delivery, events_requested=[*INTEROP, "https://unknown.example/event"], description="worker")
    url, name = ssf.metadata["configuration_endpoint"], {"stream_id": made["stream_id"]}
    assert made["iss"] == ssf.metadata["issuer"]
    assert made["aud"]
    assert made["events_delivered"] == INTEROP
    assert set(INTEROP) < set(made["events_supported"])
    assert made["delivery"] == (delivery if mode == "push" else {**POLLED, "endpoint_url": made["delivery"]["endpoint_url"]})
    read = await ssf.ask("GET", url, params=name)
    assert (read.status_code, read.json()) == (200, made)
    assert made in (await ssf.ask("GET", url)).json()

    changed = await ssf.ask("PATCH", url, json={**name, "description": "other", "events_delivered": made["events_delivered"]})
    assert (changed.status_code, changed.json()) == (200, {**made, "description": "other"})
    replaced = await ssf.ask("PUT", url, json={**name, "delivery": made["delivery"], "events_requested": INTEROP[:1]})
    assert replaced.status_code == 200
    assert (replaced.json()["events_delivered"], "description" in replaced.json()) == (INTEROP[:1], False)

    read_status = await ssf.ask("GET", ssf.metadata["status_endpoint"], params=name)
    assert (read_status.status_code, read_status.json()) == (200, {**name, "status": "enabled"})
    for status in ("enabled", "paused", "disabled"):
        await ssf.status(made, status)
    await ssf.delete(made)
    assert (await ssf.ask("GET", url, params=name)).status_code == 404
    assert made["stream_id"] not in (await ssf.ask("GET", url)).text


async def test_stream_control_error_create_stream_with_broken_input(ssf: Stage) -> None:
    answer = await ssf.ask("POST", ssf.metadata["configuration_endpoint"], content=b";{ broken")
    assert answer.status_code == 400


@pytest.mark.parametrize("method", ["POST", "GET", "PATCH", "PUT", "DELETE"])
async def test_stream_control_error_invalid_token(ssf: Stage, method: str) -> None:
    """create-, read-, update-, replace-, delete-stream-with-invalid-token"""
    body = {"json": {"stream_id": UNKNOWN}} if method in ("PATCH", "PUT") else {"json": {}} if method == "POST" else {}
    answer = await ssf.ask(method, ssf.metadata["configuration_endpoint"], "invalid", params={"stream_id": UNKNOWN}, **body)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="ssf", error="invalid_token"')


async def test_stream_control_error_create_stream_with_duplicate_config(ssf: Stage) -> None:
    first, second = await ssf.create(POLLED), await ssf.create(POLLED)
    assert first["stream_id"] != second["stream_id"]
    for stream in (first, second):
        await ssf.delete(stream)


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
async def test_stream_control_error_unknown_stream(ssf: Stage, method: str) -> None:
    """read-, update-, replace-, delete-unknown-stream"""
    body = {"json": {"stream_id": UNKNOWN}} if method in ("PATCH", "PUT") else {}
    answer = await ssf.ask(method, ssf.metadata["configuration_endpoint"], params={"stream_id": UNKNOWN}, **body)
    assert answer.status_code == 404


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_stream_control_error_update_and_replace_stream_with_invalid_body(ssf: Stage, method: str) -> None:
    stream = await ssf.create(POLLED)
    name = {"stream_id": stream["stream_id"]}
    bad: list[Any] = [
        {}, [], {**name, "aud": "https://other.example"}, {**name, "iss": "https://other.example"}, {**name, "events_delivered": []},
        {**name, "events_requested": "all"}, {**name, "delivery": {"method": "carrier-pigeon"}}, {**name, "delivery": {"method": PUSH}},
        {**name, "delivery": {"method": PUSH, "endpoint_url": "https://10.0.0.1/"}}, {**name, "min_verification_interval": 0},
        {**name, "delivery": {**POLLED, "endpoint_url": f"{ssf.base}/ssf/poll/other"}},
    ]  # fmt: skip
    for body in bad:
        assert (await ssf.ask(method, ssf.metadata["configuration_endpoint"], json=body)).status_code == 400, body
    assert (await ssf.ask(method, ssf.metadata["configuration_endpoint"], content=b'{"stream_id":')).status_code == 400
    await ssf.delete(stream)


async def test_stream_control_error_read_stream_without_token(ssf: Stage) -> None:
    answer = await ssf.ask("GET", ssf.metadata["configuration_endpoint"], None)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="ssf"')


async def test_stream_control_error_token_in_uri_query(ssf: Stage) -> None:
    answer = await ssf.ask("GET", ssf.metadata["configuration_endpoint"], None, params={"access_token": ssf.token()})
    assert answer.status_code == 400
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_stream_control_error_create_stream_with_read_only_token(ssf: Stage) -> None:
    answer = await ssf.ask("POST", ssf.metadata["configuration_endpoint"], ssf.token("ssf.read"), json={})
    assert answer.status_code == 403
    assert answer.headers["www-authenticate"] == 'Bearer realm="ssf", error="insufficient_scope", scope="ssf.manage"'


async def test_stream_control_error_read_status(ssf: Stage) -> None:
    """read-status-with-invalid-token, read-status-of-unknown-stream"""
    url, name = ssf.metadata["status_endpoint"], {"stream_id": UNKNOWN}
    assert (await ssf.ask("GET", url, "invalid", params=name)).status_code == 401
    assert (await ssf.ask("GET", url, params=name)).status_code == 404
    assert (await ssf.ask("POST", url, json={**name, "status": "paused"})).status_code == 404
    assert (await ssf.ask("POST", url, json={**name, "status": "asleep"})).status_code == 400


async def test_stream_control_create_stream_without_delivery(ssf: Stage) -> None:
    stream = await ssf.create(events_requested=INTEROP)
    assert stream["delivery"]["method"] == POLL
    assert stream["delivery"]["endpoint_url"].startswith("https://")
    await ssf.delete(stream)


async def test_stream_subject_control(ssf: Stage) -> None:
    stream = await ssf.create(POLLED)
    named = {"stream_id": stream["stream_id"], "subject": {"format": "email", "email": "ann@example.com"}}
    added = await ssf.ask("POST", ssf.metadata["add_subject_endpoint"], json={**named, "verified": True})
    assert (added.status_code, added.content) == (200, b"")
    removed = await ssf.ask("POST", ssf.metadata["remove_subject_endpoint"], json=named)
    assert (removed.status_code, removed.content) == (204, b"")
    for name in ("add_subject_endpoint", "remove_subject_endpoint"):
        for body in ({}, {"stream_id": stream["stream_id"]}, {**named, "subject": {"format": "email"}}):
            assert (await ssf.ask("POST", ssf.metadata[name], json=body)).status_code == 400
        assert (await ssf.ask("POST", ssf.metadata[name], json={**named, "stream_id": UNKNOWN})).status_code == 404
        assert (await ssf.ask("POST", ssf.metadata[name], "invalid", json=named)).status_code == 401
        assert (await ssf.ask("POST", ssf.metadata[name], ssf.token("ssf.read"), json=named)).status_code == 403
    await ssf.delete(stream)


@pytest.mark.parametrize("state", ["VGhpcyBpcyBhbiBleGFtcGxl", None])
async def test_transmitter_stream_verification_push(ssf: Stage, sink: Sink, state: str | None) -> None:
    stream = await ssf.create(push_to(sink))
    answer = await ssf.verify(stream, state)
    assert (answer.status_code, answer.content) == (204, b"")
    pushed = await sink.next()
    assert pushed.headers[":request"] == "POST /push HTTP/1.1"
    assert pushed.headers["authorization"] == "Bearer stream-1-secret"
    assert (pushed.headers["content-type"], pushed.headers["accept"]) == ("application/secevent+jwt", "application/json")
    await verified(ssf, stream, pushed.body, state)
    await ssf.delete(stream)


async def test_transmitter_stream_verification_poll_only(ssf: Stage) -> None:
    stream = await ssf.create(POLLED)
    assert (await ssf.verify(stream, "s1")).status_code == 204
    for _ in range(2):  # what is not acknowledged is offered again
        polled = await ssf.poll(stream, maxEvents=10)
        assert polled.status_code == 200
        ((_, compact),) = polled.json()["sets"].items()
        await verified(ssf, stream, compact, "s1")
    await ssf.delete(stream)


async def test_transmitter_stream_verification_poll_and_ack(ssf: Stage) -> None:
    stream = await ssf.create(POLLED)
    await ssf.verify(stream, "s1")
    polled = (await ssf.poll(stream, maxEvents=10)).json()
    again = await ssf.poll(stream, maxEvents=10, ack=list(polled["sets"]))
    assert (again.status_code, again.json()) == (200, {"sets": {}, "moreAvailable": False})
    await ssf.delete(stream)


async def test_transmitter_stream_verification_ack_only(ssf: Stage) -> None:
    stream = await ssf.create(POLLED)
    await ssf.verify(stream, "s1")
    assert (await ssf.poll(stream, maxEvents=0)).json() == {"sets": {}}, "zero is an acknowledgement alone"
    polled = (await ssf.poll(stream, maxEvents=10)).json()
    acked = await ssf.poll(stream, maxEvents=0, ack=[*polled["sets"], "nobody", "*", "a.b", ">"])
    assert (acked.status_code, acked.json()) == (200, {"sets": {}})
    assert (await ssf.poll(stream, maxEvents=10)).json()["sets"] == {}
    await ssf.delete(stream)


async def test_transmitter_stream_verification_error_push_no_auth(ssf: Stage, sink: Sink) -> None:
    stream = await ssf.create(push_to(sink, None))
    await ssf.verify(stream)
    assert "authorization" not in (await sink.next()).headers
    await ssf.delete(stream)


async def test_transmitter_stream_verification_error(ssf: Stage) -> None:
    """verification-error-invalid-body, -invalid-token, -unknown-stream"""
    url = ssf.metadata["verification_endpoint"]
    for body in (b";{ broken", b"{}", b'{"stream_id": 1}', b'{"stream_id": "a", "state": 1}', b'{"stream_id": "a", "stream_id": "a"}'):
        assert (await ssf.ask("POST", url, content=body)).status_code == 400, body
    assert (await ssf.ask("POST", url, "invalid", json={"stream_id": UNKNOWN})).status_code == 401
    assert (await ssf.ask("POST", url, json={"stream_id": UNKNOWN})).status_code == 404


async def test_transmitter_stream_verification_long_poll(ssf: Stage) -> None:
    stream = await ssf.create(POLLED)
    waiting = asyncio.create_task(ssf.poll(stream, maxEvents=1, returnImmediately=False))
    await asyncio.sleep(0.3)  # whoever asks first and waits is what this is about
    assert not waiting.done()
    await ssf.verify(stream, "late")
    started = time.monotonic()
    ((_, compact),) = (await waiting).json()["sets"].items()
    assert time.monotonic() - started < 5, "as it comes, not when the time is over"
    await verified(ssf, stream, compact, "late")
    await ssf.delete(stream)


async def test_transmitter_stream_verification_set_errs(ssf: Stage) -> None:
    stream = await ssf.create(POLLED)
    await ssf.verify(stream, "s1")
    (jti,) = (await ssf.poll(stream, maxEvents=10)).json()["sets"]
    errors = {jti: {"err": "invalid_key", "description": "no such key"}}
    answer = await ssf.poll(stream, maxEvents=0, setErrs=errors)
    assert (answer.status_code, answer.json()) == (200, {"sets": {}})
    assert (await ssf.poll(stream, maxEvents=10)).json()["sets"] == {}
    assert (await ssf.command(what="dead", stream_id=stream["stream_id"]))["rows"] == [], "it can be asked for again"
    await ssf.command(what="emit", event=f"{CAEP}session-revoked", subject=SUBJECTS[0], stream_id=stream["stream_id"])
    (jti,) = (await ssf.poll(stream, maxEvents=10)).json()["sets"]
    await ssf.poll(stream, maxEvents=0, setErrs={jti: errors.popitem()[1]})
    dead = await ssf.command(what="dead", stream_id=stream["stream_id"])
    assert [(row["jti"], row["err"]) for row in dead["rows"]] == [(jti, "invalid_key")]
    assert (await ssf.command(what="resend", stream_id=stream["stream_id"]))["rows"] == dead["rows"]
    assert list((await ssf.poll(stream, maxEvents=10)).json()["sets"]) == [jti], "sent again"
    assert (await ssf.command(what="dead", stream_id=stream["stream_id"]))["rows"] == []
    await ssf.delete(stream)


async def test_transmitter_poll_endpoint_authorization(ssf: Stage) -> None:
    stream = await ssf.create(POLLED)
    for token in (None, "invalid"):
        answer = await ssf.poll(stream, token, maxEvents=1)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (await ssf.poll(stream, ssf.token("ssf.read"), maxEvents=1)).status_code == 403
    assert (await ssf.ask("POST", f"{ssf.base}/ssf/poll/{UNKNOWN}", json={})).status_code == 404
    for bad in ({"maxEvents": -1}, {"maxEvents": True}, {"ack": "a"}, {"setErrs": []}, {"returnImmediately": "yes"}):
        assert (await ssf.poll(stream, **bad)).status_code == 400
    await ssf.delete(stream)


async def test_transmitter_poll_endpoint_url_unique_per_stream(ssf: Stage) -> None:
    first, second = await ssf.create(POLLED), await ssf.create(POLLED)
    assert first["delivery"]["endpoint_url"] != second["delivery"]["endpoint_url"]
    await ssf.verify(first, "s1")
    assert (await ssf.poll(second)).json()["sets"] == {}
    for stream in (first, second):
        await ssf.delete(stream)


@pytest.mark.parametrize("mode", ["push", "poll"])
async def test_transmitter_paused_stream_holds_events(ssf: Stage, sink: Sink, mode: str) -> None:
    stream = await ssf.create(push_to(sink) if mode == "push" else POLLED)
    await ssf.status(stream, "paused")
    assert (await ssf.verify(stream, "held")).status_code == 204
    if mode == "push":
        await sink.nothing(QUIET_S)
    else:
        assert (await ssf.poll(stream)).json()["sets"] == {}
    await ssf.status(stream, "enabled")
    compact = (await sink.next()).body if mode == "push" else next(iter((await ssf.poll(stream)).json()["sets"].values()))
    await verified(ssf, stream, compact, "held")
    await ssf.delete(stream)


@pytest.mark.parametrize("mode", ["push", "poll"])
async def test_transmitter_disabled_stream_drops_events(ssf: Stage, sink: Sink, mode: str) -> None:
    stream = await ssf.create(push_to(sink) if mode == "push" else POLLED)
    await ssf.status(stream, "paused")
    await ssf.verify(stream, "held, then dropped")
    await ssf.status(stream, "disabled")
    async with asyncio.timeout(10):
        while (await ssf.verify(stream, "dropped")).status_code == 429:  # noqa: ASYNC110 - the interval has no event
            await asyncio.sleep(0.2)
    await ssf.status(stream, "enabled")
    if mode == "push":
        await sink.nothing(QUIET_S)
    else:
        assert (await ssf.poll(stream)).json()["sets"] == {}
        await asyncio.sleep(QUIET_S)
    assert (await ssf.verify(stream, "works again")).status_code == 204
    compact = (await sink.next()).body if mode == "push" else next(iter((await ssf.poll(stream)).json()["sets"].values()))
    await verified(ssf, stream, compact, "works again")
    await ssf.delete(stream)


SUBJECTS = [{"format": "email", "email": "ann@example.com"}, {"format": "iss_sub", "iss": "https://issuer.example", "sub": "145234573"}]
MEMBERS: dict[str, dict[str, Any]] = {
    "session-revoked": {},
    "credential-change": {"credential_type": "fido2-roaming", "change_type": "create", "friendly_name": "Ann's key"},
    "device-compliance-change": {"previous_status": "compliant", "current_status": "not-compliant"},
}


@pytest.mark.parametrize("mode", ["push", "poll"])
async def test_transmitter_stream_caep_interop(ssf: Stage, sink: Sink, mode: str) -> None:
    stream = await ssf.create(push_to(sink) if mode == "push" else POLLED, events_requested=INTEROP)
    name = {"stream_id": stream["stream_id"]}
    assert (await ssf.ask("GET", ssf.metadata["configuration_endpoint"], params=name)).status_code == 200
    assert (await ssf.ask("GET", ssf.metadata["status_endpoint"], ssf.token("ssf.read"), params=name)).json()["status"] == "enabled"
    assert set(stream["events_delivered"]) <= set(stream["events_supported"])

    async def received() -> dict[str, Any]:
        if mode == "push":
            compact = (await sink.next()).body
        else:
            ((jti, compact),) = (await ssf.poll(stream, maxEvents=1, returnImmediately=False)).json()["sets"].items()
            await ssf.poll(stream, maxEvents=0, ack=[jti])
        assert jwt.get_unverified_header(compact)["alg"] == "RS256"
        return await ssf.decode(stream, compact)

    await ssf.verify(stream, "interop")
    assert f"{SSF}verification" in (await received())["events"]
    for subject in SUBJECTS:
        for event, members in MEMBERS.items():
            sent = await ssf.command(what="emit", event=f"{CAEP}{event}", subject=subject, members=members)
            assert [row["stream_id"] for row in sent["rows"]] == [stream["stream_id"]]
            claims = await received()
            assert claims["sub_id"] == subject
            ((uri, payload),) = claims["events"].items()
            assert uri == f"{CAEP}{event}"
            assert isinstance(payload["event_timestamp"], int)
            assert payload["event_timestamp"] <= time.time()
            assert payload["initiating_entity"] == "admin"
            assert all(payload["reason_admin"].values())
            assert members.items() <= payload.items()
    await ssf.delete(stream)


async def test_a_receiver_never_sees_anothers_stream(ssf: Stage) -> None:
    """INVARIANT: whatever a receiver asks about another's stream, it is told that there is none.

    Looking up a stream by its id alone would break it; so would another answer than for an id that nobody has.
    """
    theirs = ssf.token(client_id=STRANGER)
    stream = await ssf.create(POLLED)
    name = {"stream_id": stream["stream_id"]}
    assert (await ssf.ask("GET", ssf.metadata["configuration_endpoint"], theirs)).json() == []
    asked = [
        ("GET", "configuration_endpoint", {"params": name}),
        ("PATCH", "configuration_endpoint", {"json": name}),
        ("PUT", "configuration_endpoint", {"json": name}),
        ("DELETE", "configuration_endpoint", {"params": name}),
        ("GET", "status_endpoint", {"params": name}),
        ("POST", "status_endpoint", {"json": {**name, "status": "disabled"}}),
        ("POST", "verification_endpoint", {"json": name}),
        ("POST", "add_subject_endpoint", {"json": {**name, "subject": SUBJECTS[0]}}),
        ("POST", "remove_subject_endpoint", {"json": {**name, "subject": SUBJECTS[0]}}),
    ]
    nobodys = {"stream_id": uuid.uuid4().hex}
    for method, endpoint, options in asked:
        answer = await ssf.ask(method, ssf.metadata[endpoint], theirs, **options)
        unknown = await ssf.ask(method, ssf.metadata[endpoint], theirs, **{place: {**said, **nobodys} for place, said in options.items()})
        assert (answer.status_code, answer.content) == (404, unknown.content), (method, endpoint)
    assert (await ssf.poll(stream, theirs)).status_code == 404
    assert (await ssf.ask("GET", ssf.metadata["status_endpoint"], params=name)).json()["status"] == "enabled"
    await ssf.delete(stream)


async def test_verifications_have_their_pace(ssf: Stage) -> None:
    stream = await ssf.create(POLLED)
    assert stream["min_verification_interval"] == 1
    assert (await ssf.verify(stream)).status_code == 204
    refused = await ssf.verify(stream)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    await ssf.delete(stream)


async def test_methods_that_a_path_does_not_have(ssf: Stage) -> None:
    answer = await ssf.http.post(ssf.metadata["jwks_uri"])
    assert answer.status_code == 405
    assert (await ssf.http.put(ssf.metadata["verification_endpoint"], json={})).status_code == 405
