"""The guard on a real server, with the registry and the revocation worker it talks to."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from weft.asgi import GuardMiddleware
from weft.digest import unb64u
from weft.errors import GuardReason, Refused, Unavailable
from weft.grants import Grant, headers_of
from weft.guard import BEHIND_WAIT_S, NEW_KEY_WAIT_S, Guard
from weft.nkey import KeyPair
from weft.point import Point

from schemas.record import COMPLETED, USED
from streams import keys
from streams.tokenkeys import signing_key
from tests.support.fabric import FabricServer, key_fact
from tests.support.guarded import ASKED, INSTANCE, Place, place, registry, revocation, tool
from tests.support.signed import ADVISOR, BODY, TokenKey, claims
from tests.support.workers import running
from workers.common.identity import thumbprint

WAIT_S = 6


@pytest.fixture
async def here(fabric_server: FabricServer) -> AsyncIterator[Place]:
    async with place(fabric_server) as made:
        yield made


async def refused(guard: Guard, token: str | None, asked=ASKED) -> GuardReason:
    with pytest.raises(Refused) as refusal:
        await guard.check(token, asked)
    return refusal.value.reason


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = WAIT_S) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - what others hold is asked for, there is no event
            await asyncio.sleep(0.05)


async def serves(guard: Guard, here: Place, *refusals: GuardReason) -> bool:
    """Whether it accepts; or, with `refusals`, whether it refuses with one of them."""
    try:
        await guard.check(here.token(), ASKED)
    except Refused as refusal:
        return refusal.reason in refusals
    return not refusals


# --- steps --------------------------------------------------------------------------------------------------------------------------


async def test_a_good_token_is_accepted_and_each_flaw_is_refused(here):
    guard = await here.guard()
    good = here.token(sub="doc")
    verified = await guard.check(good, ASKED)
    assert (verified.token.sub, verified.tool, verified.actions) == ("doc", "payments-processing", ("refund",))
    assert verified.object is not None
    assert await refused(guard, None) is GuardReason.MISSING
    assert await refused(guard, "x.y.z") is GuardReason.MALFORMED
    assert await refused(guard, TokenKey().sign(claims(int(time.time())))) is GuardReason.SIGNATURE
    assert await refused(guard, good, replace(ASKED, tool="web-search")) is GuardReason.WRONG_TOOL
    assert await refused(guard, good, replace(ASKED, actions=("payout",))) is GuardReason.WRONG_ACTION
    assert await refused(guard, good, replace(ASKED, body=BODY.replace(b"120", b"920"))) is GuardReason.WRONG_CALL
    assert await refused(guard, good, replace(ASKED, path="/refunds?dry=0")) is GuardReason.WRONG_CALL
    assert await refused(guard, good, replace(ASKED, proven_jkt="x" * 43)) is GuardReason.NOT_BOUND


async def test_a_token_of_a_key_that_is_new_waits_for_its_guard_to_hear_of_it(here):
    """Verifies that no rotation refuses a token because a guard heard of it last, and that garbage waits a moment and no longer."""
    guard = await here.guard()
    new = signing_key(generate_private_key(SECP256R1()))
    await here.server.put_facts(key_fact(here.server.settings, "tokens", new))
    await guard.check(TokenKey(new.kid, new.private).sign(claims(int(time.time()))), ASKED)
    before = time.monotonic()
    assert await refused(guard, TokenKey("nobodys").sign(claims(int(time.time())))) is GuardReason.SIGNATURE
    assert time.monotonic() - before < NEW_KEY_WAIT_S + 1


async def test_a_guard_that_was_not_started_refuses(here):
    guard = Guard(await here.connection(), ["payments-processing"])
    assert await refused(guard, here.token()) is GuardReason.VIEW_STALE


async def test_a_guard_that_was_stopped_refuses(here):
    guard = await here.guard()
    await guard.stop()
    assert await refused(guard, here.token()) is GuardReason.VIEW_STALE


# --- revocation ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [("user", "marty"), ("agent", ADVISOR), ("namespace", "spiffe://88mph.com/agents")])
async def test_what_is_revoked_is_refused_and_the_point_is_confirmed(here, target):
    """INVARIANT: once a point is recorded as having applied a revocation, it accepts nothing that the revocation hits.

    Acknowledging what arrived instead of what counts would break it.
    """
    guard = await here.guard()
    token = here.token()
    await guard.check(token, ASKED)
    n = await here.revoke(*target)

    async def contained() -> bool:
        found = [data for _, data in await here.records(COMPLETED)]
        return any(data["n"] == n and data["points"][0]["state"] == "confirmed" for data in found if data["points"])

    await until(contained)
    assert await refused(guard, token) is GuardReason.REVOKED


async def test_a_point_that_attaches_after_a_rotation_knows_what_was_revoked_before(fabric_server):
    """INVARIANT: entries count for as long as the tokens they hit live, also under a key that was retired since, for points old and new.

    A point that is told of active keys alone cannot read them: it is never current, and refuses everything.
    """
    await fabric_server.put_facts(tool())
    here = Place(fabric_server)
    async with running(registry, fabric_server.settings), here._stack:
        here.signals = await fabric_server.worker("signals")
        token, other = here.token(), here.token(txn="another")
        async with running(revocation, fabric_server.settings):
            old = await here.guard()
            late = None
            await here.revoke("token", json.loads(unb64u(token.split(".")[1]))["jti"])
        (fabric_server.settings.keys / "revocation.pem").unlink()
        new, retired = keys.load_or_create(fabric_server.settings, "revocation"), fabric_server.keys["revocation"]
        was = key_fact(fabric_server.settings, "revocation", retired).model_copy(update={"state": "retired"})
        await fabric_server.put_facts(key_fact(fabric_server.settings, "revocation", new), was)
        async with running(revocation, fabric_server.settings):
            with suppress(Unavailable):
                late = await here.guard(await here.connection("i" + "d5" * 13))
            assert late is not None, "it cannot read the first entry"
            for guard in (old, late):
                await until(lambda guard=guard: serves(guard, here))
                assert await refused(guard, token) is GuardReason.REVOKED
                await guard.check(other, ASKED)


async def test_a_running_call_is_told_to_stop(here):
    guard = await here.guard()
    verified = await guard.check(here.token(txn="t-running"), ASKED)
    other = await guard.check(here.token(txn="t-other"), ASKED)
    await here.revoke("transaction", "t-running")
    async with asyncio.timeout(WAIT_S):
        await verified.cancelled.wait()
    assert not other.cancelled.is_set()


async def test_a_token_minted_beyond_the_view_waits_and_is_then_refused(here):
    guard = await here.guard()
    before = time.monotonic()
    assert await refused(guard, here.token(rev=1)) is GuardReason.VIEW_BEHIND
    assert BEHIND_WAIT_S <= time.monotonic() - before < BEHIND_WAIT_S + 1


async def test_a_token_minted_beyond_the_view_is_accepted_once_the_view_is_there(here):
    guard = await here.guard()
    n = await here.revoke("user", "biff")
    assert (await guard.check(here.token(rev=n), ASKED)).token.rev == n


async def test_a_view_older_than_the_tools_budget_refuses(here):
    """INVARIANT: a point whose view is older than its budget refuses, whatever the token.

    Asking for the age of the connection, or of the last message, instead of the last beacon that matched would break it.
    """
    guard = await here.guard()
    here.clock.ahead_s = 4
    assert await refused(guard, here.token()) is GuardReason.VIEW_STALE
    assert not guard.ready()


async def test_a_reading_tool_may_have_an_older_view(fabric_server):
    async with place(fabric_server, staleness_s=30) as here:
        guard = await here.guard()
        here.clock.ahead_s = 20
        assert await guard.check(here.token(), ASKED)
        here.clock.ahead_s = 40
        assert await refused(guard, here.token()) is GuardReason.VIEW_STALE


async def test_a_guard_without_a_server_refuses_within_its_budget_and_recovers_by_itself(here):
    """INVARIANT: cut off, a guard refuses within its budget; back, it accepts again without anybody's help.

    A view that stays fresh while nothing arrives, or a feed that follows only what is published after the reconnect, would break it.
    """
    guard = await here.guard()
    await here.server.server.kill()
    here.clock.ahead_s = 3.1
    assert await refused(guard, here.token()) is GuardReason.VIEW_STALE
    here.clock.ahead_s = 0
    await here.server.server.start()
    await here.admit()

    await asyncio.sleep(3.1)  # what it had before is too old by now
    await until(lambda: serves(guard, here), 15)


async def test_a_closed_client_is_replaced(here):
    connection = await here.connection()
    guard = await here.guard(connection)
    first = connection.nc
    await first.close()

    async def replaced() -> bool:
        return connection.nc is not first

    await until(replaced)
    n = await here.revoke("user", "biff")
    assert await guard.check(here.token(rev=n), ASKED)
    assert await guard.report(await guard.check(here.token(rev=n), ASKED), "positive")


# --- what changes -------------------------------------------------------------------------------------------------------------------


async def test_a_suspended_tool_is_served_no_more(here):
    guard = await here.guard()
    await here.server.put_facts(tool(state="suspended"))

    await until(lambda: serves(guard, here, GuardReason.WRONG_TOOL, GuardReason.AUDIENCE))


# --- single use ---------------------------------------------------------------------------------------------------------------------


async def test_a_single_use_token_is_accepted_once_in_the_world(here):
    """INVARIANT: of any number of points that are shown a single-use token at once, one accepts it.

    Claiming after the tool acted, or remembering claims in the process, would break it.
    """
    first = await here.guard()
    second = await here.guard(await here.connection("i" + "d5" * 13))
    token = here.token(call={"single_use": True})
    outcomes = await asyncio.gather(*(g.check(token, ASKED) for g in (first, second, first)), return_exceptions=True)
    losers = [o for o in outcomes if isinstance(o, Refused)]
    assert len(losers) == 2
    assert {o.reason for o in losers} == {GuardReason.REPLAYED}


async def test_a_claim_that_nobody_answers_refuses(fabric_server):
    async with place(fabric_server, single_use=True, staleness_s=30) as here:
        connection = await here.connection()
        guard = await here.guard(connection)

        async def unanswered(*_: object) -> bytes:
            raise TimeoutError

        connection.request = unanswered  # type: ignore[method-assign]
        assert await refused(guard, here.token()) is GuardReason.CLAIM_UNAVAILABLE


async def test_what_is_revoked_while_it_is_claimed_is_refused(fabric_server):
    """INVARIANT: the view is looked at after the last wait, so nothing revoked slips through while a guard asks for something.

    Returning right after the claim would break it.
    """
    async with place(fabric_server, single_use=True) as here:
        connection = await here.connection()
        guard = await here.guard(connection)
        ask, token = connection.request, here.token(txn="t-racing")

        async def slow(subject: str, body: bytes, timeout_s: float) -> bytes:
            if subject.startswith("weft.claim."):
                n = await here.revoke("transaction", "t-racing")
                assert await guard._follower.wait_for(n, WAIT_S)
            return await ask(subject, body, timeout_s)

        connection.request = slow  # type: ignore[method-assign]
        assert await refused(guard, token) is GuardReason.REVOKED


# --- reports ------------------------------------------------------------------------------------------------------------------------


async def test_a_use_is_on_record_under_the_attested_name(here):
    guard = await here.guard()
    verified = await guard.check(here.token(txn="t-used"), ASKED)
    seq = await guard.report(verified, "positive")
    ((found, data),) = [(s, d) for s, d in await here.records(USED) if d["txn"] == "t-used"]
    assert found == seq
    assert (data["point"], data["accepted"], data["outcome"]) == (f"{INSTANCE}.88mph~com.tools.payments", True, "positive")
    assert data["object"] == verified.object


async def test_a_refused_call_is_on_record_once(here):
    guard = await here.guard()
    token = here.token(txn="t-refused")
    for _ in range(3):
        await refused(guard, token, replace(ASKED, actions=("payout",)))
    await guard.stop()  # places what waits
    found = [d for _, d in await here.records(USED) if d["txn"] == "t-refused"]
    assert [(d["accepted"], d["reason"]) for d in found] == [(False, "wrong_action")]


# --- over HTTP ----------------------------------------------------------------------------------------------------------------------


async def test_a_request_is_served_with_its_record(here):
    guard = await here.guard()

    async def app(scope, receive, send):
        body = (await receive())["body"]
        assert body == BODY
        headers = [(b"weft-outcome", b"negative"), (b"weft-record", b"999")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": scope["weft"].token.txn.encode()})

    guarded = GuardMiddleware(app, guard, routes={("POST", "/refunds"): ("payments-processing", ("refund",))})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://tool") as http:
        answer = await http.post("/refunds", content=BODY, headers={"Txn-Token": here.token(txn="t-http")})
        assert (answer.status_code, answer.text) == (200, "t-http")
        assert "weft-outcome" not in answer.headers
        ((seq, data),) = [(s, d) for s, d in await here.records(USED) if d["txn"] == "t-http"]
        assert (data["outcome"], answer.headers["weft-record"]) == ("negative", str(seq))
        assert (await http.post("/refunds", content=BODY)).status_code == 401
        assert (await http.post("/refunds", content=b"{}", headers={"Txn-Token": here.token()})).json() == {"error": "wrong_call"}
        assert (await http.post("/other", content=BODY, headers={"Txn-Token": here.token()})).status_code == 404


async def test_a_proof_of_possession_is_good_once_in_the_world(fabric_server):
    """INVARIANT: of any number of points that are shown the same DPoP proof, one accepts it (RFC 9449 section 11.1).

    A replay store in each process would break it.
    """
    async with place(fabric_server, proof="dpop") as here:
        guards = [await here.guard(), await here.guard(await here.connection("i" + "d5" * 13))]
        holder, served = KeyPair("U"), done
        token = here.token(cnf={"jkt": thumbprint(holder.public)})
        grant = Grant("t", "http://127.0.0.1:1", token, 0, ("refund",), "e", "r", "dpop", holder)
        headers = headers_of(grant, "POST", f"{grant.endpoint}/refunds")
        statuses = []
        for guard in guards:
            guarded = GuardMiddleware(served, guard, routes={("POST", "/refunds"): ("payments-processing", ("refund",))})
            async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://any.host") as http:
                answer = await http.post("/refunds", content=BODY, headers=headers)
                statuses.append(answer.status_code)
                again = headers_of(grant, "POST", f"{grant.endpoint}/refunds")
                assert (await http.post("/refunds", content=BODY, headers=again)).status_code == 200, "a fresh proof of the same token"
                bare = await http.post("/refunds", content=BODY, headers={"Txn-Token": token})
                assert (bare.status_code, bare.json()) == (401, {"error": "proof_missing"})
                assert bare.headers["www-authenticate"].startswith('DPoP error="invalid_dpop_proof", algs="')
                twice = [*again.items(), ("DPoP", again["DPoP"])]
                assert (await http.post("/refunds", content=BODY, headers=twice)).json() == {"error": "token_malformed"}
        assert statuses == [200, 403]


async def done(scope, receive, send):
    """A tool that does what it is told."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


async def test_a_guard_that_starts_beside_many_entries_takes_a_snapshot(fabric_server, monkeypatch) -> None:
    """Verifies that a guard started from the worker's snapshot refuses what was revoked before, follows on, and acknowledges."""
    monkeypatch.setattr("workers.revocation.snapshots.LEAST", 1)
    async with place(fabric_server) as made:
        token, other = made.token(), made.token()
        claims = json.loads(unb64u(token.split(".")[1]))
        await made.revoke("token", claims["jti"])
        fetched = []
        real = Point.snapshot

        async def counted(self, key_of):
            found = await real(self, key_of)
            fetched.append(found)
            return found

        monkeypatch.setattr(Point, "snapshot", counted)
        connection, key = await made.connection(), fabric_server.keys["revocation"]
        async with asyncio.timeout(10):  # until the worker's own view holds the entry
            while await Point(connection).snapshot({key.kid: unb64u(key.jwk["x"])}.get) is None:  # noqa: ASYNC110 - it is asked
                await asyncio.sleep(0.05)
        fetched.clear()
        guard = await made.guard(connection)
        assert fetched[0] is not None
        assert len(guard._follower.view._loaded) == 1
        with pytest.raises(Refused) as refused:
            await guard.check(token, ASKED)
        assert refused.value.reason is GuardReason.REVOKED
        assert await guard.check(other, ASKED)
        await made.revoke("token", json.loads(unb64u(other.split(".")[1]))["jti"])
        with pytest.raises(Refused):
            await guard.check(other, ASKED)
