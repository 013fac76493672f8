"""The middleware around an application: what it lets in, what it lets out, and in which order.  The guard here is told what to answer;
tests/integration/test_guard.py has the real one.
"""

import asyncio
import json
from types import SimpleNamespace

import pytest
from weft.asgi import MAX_BODY_BYTES, GuardMiddleware, status_of
from weft.errors import GuardReason, Refused
from weft.verified import Verified

ROUTES = {
    ("POST", "/refunds"): ("payments", ("refund",)),
    ("GET", "/orders/*"): ("payments", ("read",)),
    ("GET", "/orders/secret/*"): ("payments", ("audit",)),
}


class ToldGuard:
    """Answers as told, and keeps what it was asked and told."""

    def __init__(self, refuses=None):
        self.refuses = refuses
        self.log = []
        self.verified = None

    async def check(self, unverified, asked):
        self.log.append(("check", unverified, asked))
        if self.refuses:
            raise Refused(self.refuses, "a detail that nobody outside may see")
        self.verified = Verified(SimpleNamespace(txn="t"), asked.tool, asked.actions, None)
        return self.verified

    async def report(self, verified, outcome, *, reason=None):
        self.log.append(("report", outcome, reason))
        return 42

    @property
    def asked(self):
        return self.log[0][2]


async def ask(app, method="POST", path="/refunds", body=(b"{}",), headers=((b"txn-token", b"tok"),), query=b"", raw_path=None, ends=True):
    """One HTTP request; what was sent back."""
    messages = [{"type": "http.request", "body": part, "more_body": n < len(body) - 1} for n, part in enumerate(body)]
    if not ends:
        messages[-1:] = [{"type": "http.disconnect"}]
    sent = []

    async def receive():
        return messages.pop(0) if messages else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": list(headers)}
    async with asyncio.timeout(5):
        await app({**scope, **({"raw_path": raw_path} if raw_path else {})}, receive, send)
    return sent


async def ok(scope, receive, send):
    """An application that answers with what it read."""
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-kept", b"1")]})
    await send({"type": "http.response.body", "body": body})


def answering(status=200, headers=()):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b"done"})

    return app


async def test_the_application_gets_the_body_that_was_verified():
    guard = ToldGuard()
    sent = await ask(GuardMiddleware(ok, guard, routes=ROUTES), body=(b"ab", b"cd"), query=b"dry=1")
    assert (guard.asked.body, guard.asked.path, guard.asked.method) == (b"abcd", "/refunds?dry=1", "POST")
    assert (guard.asked.tool, guard.asked.actions) == ("payments", ("refund",))
    assert sent[1]["body"] == b"abcd"
    assert (b"weft-record", b"42") in sent[0]["headers"]
    assert (b"x-kept", b"1") in sent[0]["headers"]


async def test_the_use_is_reported_before_the_answer_begins():
    """INVARIANT: no answer leaves a tool before its use was reported.

    Reporting in the background, or after the response started, would break it.
    """
    guard = ToldGuard()
    order = guard.log

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        order.append(("sent", message["type"]))

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "POST", "path": "/refunds", "headers": []}
    await GuardMiddleware(app, guard, routes=ROUTES)(scope, receive, send)
    assert [step[0] for step in order] == ["check", "report", "sent"]


OUTCOMES = {
    "2xx": (200, (), "positive"),
    "4xx": (404, (), "negative"),
    "its word against its status": (200, ((b"Weft-Outcome", b"Negative"),), "negative"),
    "its word for it": (500, ((b"weft-outcome", b"positive"),), "positive"),
    "an unknown word": (200, ((b"weft-outcome", b"maybe"),), "negative"),
    "two words": (200, ((b"weft-outcome", b"positive"), (b"weft-outcome", b"negative")), "negative"),
}


@pytest.mark.parametrize("name", OUTCOMES)
async def test_outcomes(name):
    status, headers, outcome = OUTCOMES[name]
    guard = ToldGuard()
    sent = await ask(GuardMiddleware(answering(status, headers), guard, routes=ROUTES))
    assert guard.log[1][1] == outcome
    assert not any(header.lower() == b"weft-outcome" for header, _ in sent[0]["headers"])


async def test_an_application_cannot_claim_a_record():
    sent = await ask(GuardMiddleware(answering(headers=((b"Weft-Record", b"7"),)), ToldGuard(), routes=ROUTES))
    assert [value for name, value in sent[0]["headers"] if name.lower() == b"weft-record"] == [b"42"]


@pytest.mark.parametrize("reason", list(GuardReason))
async def test_a_refusal_tells_its_reason_and_nothing_else(reason):
    async def never(scope, receive, send):
        raise AssertionError("the application was reached")

    sent = await ask(GuardMiddleware(never, ToldGuard(refuses=reason), routes=ROUTES))
    assert sent[0]["status"] == status_of(reason)
    assert json.loads(sent[1]["body"]) == {"error": reason}


def test_statuses():
    assert [status_of(r) for r in (GuardReason.MISSING, GuardReason.REVOKED, GuardReason.VIEW_STALE)] == [401, 403, 503]


@pytest.mark.parametrize(("method", "path"), [("GET", "/refunds"), ("POST", "/refunds/"), ("POST", "/"), ("GET", "/order")])
async def test_what_is_not_listed_is_not_served(method, path):
    guard = ToldGuard()
    sent = await ask(GuardMiddleware(ok, guard, routes=ROUTES), method, path)
    assert (sent[0]["status"], guard.log) == (404, [])


async def test_the_longest_prefix_counts():
    for path, actions in (("/orders/7", ("read",)), ("/orders/secret/7", ("audit",))):
        guard = ToldGuard()
        await ask(GuardMiddleware(ok, guard, routes=ROUTES), "GET", path)
        assert guard.asked.actions == actions


async def test_the_path_is_bound_as_it_was_sent():
    guard = ToldGuard()
    await ask(GuardMiddleware(ok, guard, routes=ROUTES, mount="/api"), "POST", "/refunds", raw_path=b"/api/%72efunds")
    assert guard.asked.path == "/%72efunds"


async def test_a_path_outside_the_mount_is_refused():
    sent = await ask(GuardMiddleware(ok, ToldGuard(), routes=ROUTES, mount="/api"))
    assert (sent[0]["status"], json.loads(sent[1]["body"])) == (403, {"error": "wrong_call"})


async def test_two_tokens_are_none():
    sent = await ask(GuardMiddleware(ok, ToldGuard(), routes=ROUTES), headers=((b"txn-token", b"a"), (b"Txn-Token", b"b")))
    assert json.loads(sent[1]["body"]) == {"error": "token_malformed"}


async def test_a_body_that_is_too_large_or_ends_early():
    guard = ToldGuard()
    app = GuardMiddleware(ok, guard, routes=ROUTES)
    assert (await ask(app, body=(b"x" * MAX_BODY_BYTES, b"x")))[0]["status"] == 413
    assert (await ask(app, body=(b"a", b"b"), ends=False))[0]["status"] == 400
    assert guard.log == []


async def test_a_call_that_is_revoked_before_it_answered_is_refused():
    guard = ToldGuard()
    stopped = asyncio.Event()

    async def app(scope, receive, send):
        scope["weft"].cancelled.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    sent = await ask(GuardMiddleware(app, guard, routes=ROUTES))
    assert stopped.is_set()
    assert (sent[0]["status"], json.loads(sent[1]["body"])) == (403, {"error": "token_revoked"})
    assert guard.log[1] == ("report", "none", GuardReason.REVOKED)


async def test_a_stream_that_is_revoked_ends_unfinished():
    """INVARIANT: after the revocation of a running call nothing more of its answer goes out, and its reader can tell.

    Ending the response in an orderly way, or letting the application finish, would break it.
    """
    guard = ToldGuard()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"1", "more_body": True})
        guard.verified.cancelled.set()
        while True:
            await send({"type": "http.response.body", "body": b"2", "more_body": True})
            await asyncio.sleep(0)

    sent = await ask(GuardMiddleware(app, guard, routes=ROUTES))
    assert [message.get("body") for message in sent[1:]] == [b"1"]
    assert sent[-1]["more_body"]


async def test_an_application_that_fails_is_reported_and_its_server_answers():
    guard = ToldGuard()

    async def app(scope, receive, send):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await ask(GuardMiddleware(app, guard, routes=ROUTES))
    assert guard.log[1] == ("report", "negative", None)


async def test_a_websocket_is_closed_and_the_lifespan_is_the_applications():
    sent, seen = [], []

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        seen.append(scope["type"])

    guarded = GuardMiddleware(app, ToldGuard(), routes=ROUTES)
    await guarded({"type": "websocket"}, None, send)
    await guarded({"type": "lifespan"}, None, send)
    assert (sent, seen) == ([{"type": "websocket.close", "code": 1008}], ["lifespan"])
