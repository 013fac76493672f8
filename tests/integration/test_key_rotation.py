"""The keys of tokens over time, on a real server: guards, brokers and JWKS change over together, and nobody believes a stolen key."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from typing import Any

import pytest
from weft.enforcement import Asked
from weft.errors import GuardReason, Refused
from weft.guard import Guard

from config.settings import Settings
from schemas import keys
from schemas.commands import Revoke
from schemas.facts import Kind, Transmitter, TransmitterCeiling
from schemas.invocation import Granted
from schemas.record import ISSUED, RESPONDED, REVOKED
from schemas.signals import DETECTIONS, POINTS
from streams import tokenkeys
from streams.bus import event, parse
from streams.envelope import load_kek
from streams.subjects import EDGE_KEYS
from tests.support.custody import Custodian, custodian
from tests.support.fabric import FabricServer
from tests.support.guarded import Place
from tests.support.invocations import CALL, AgentSide
from tests.support.invoking import Invoking
from tests.support.signed import TokenKey
from tests.support.workers import running
from workers.broker.app import build as broker
from workers.common.keyperiods import LAST_TOKEN_S

ROOT = "spiffe://88mph.com"
WORKLOAD = "spiffe://88mph.com/tools/web-search"
ASKED = Asked("web-search", ("search",), "GET", "/search?q=flux", b"")
WORKERS = ("revocation", "registry", "broker", "gateway", "audit", "signals")


@pytest.fixture
async def here(fabric_server: FabricServer) -> Invoking:
    made = Invoking(fabric_server)
    await made.write_world()
    return made


async def guard_of(here: Invoking, stack: list[Any]) -> Guard:
    place = Place(here.server)
    guard = Guard(await place.connection(spiffe_id=WORKLOAD), ["web-search"])
    await guard.start(deadline_s=10)
    stack.append((guard, place))
    return guard


async def closed(stack: list[Any]) -> None:
    for guard, place in stack:
        await guard.stop()
        await place._stack.aclose()


async def granted(here: Invoking, nc: Any, agent: AgentSide) -> Granted:
    answer = await here.invoke(nc, agent, call=CALL)
    assert isinstance(answer, Granted), answer
    return answer


def kid_of(token: str) -> str:
    from weft.digest import unb64u

    return json.loads(unb64u(token.split(".", maxsplit=1)[0]))["kid"]


async def jwks(server: FabricServer) -> list[str]:
    nc = await server.worker("edge")
    answer = await nc.request(EDGE_KEYS.at(), event(keys.ASKED, keys.KeysAsked(), source="/test"), timeout=3)
    await nc.close()
    return [key["kid"] for key in parse(keys.JWKSet, answer.data).data.keys]


async def test_a_rotation_under_load_refuses_no_token(here: Invoking, monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: while keys change, every token that was granted is accepted.

    Signing with a key before every guard and JWKS holds it, or dropping the last one with its last signature, would break it.
    """
    agent, stack = here.agent(), []
    nc = await here.connect(agent)
    async with here.workers(*WORKERS):
        keymaster: Custodian = await custodian(here.server, monkeypatch)
        guard = await guard_of(here, stack)
        (old,) = await jwks(here.server)
        seen: list[tuple[str, GuardReason | None]] = []
        done = asyncio.Event()

        async def load() -> None:
            while not done.is_set():
                token = (await granted(here, nc, agent)).token
                try:
                    await guard.check(token, ASKED)
                    seen.append((kid_of(token), None))
                except Refused as refused:
                    seen.append((kid_of(token), refused.reason))

        loading = [asyncio.create_task(load()) for _ in range(4)]
        before = (await granted(here, nc, agent)).token
        new = (await keymaster.weft("keys", "rotate", "--publish", "2"))["kid"]
        assert set(await jwks(here.server)) == {old, new}  # published before use
        async with asyncio.timeout(20):
            while not sum(kid == new for kid, _ in seen) > 20:  # noqa: ASYNC110 - the load goes on
                await asyncio.sleep(0.05)
        done.set()
        await asyncio.gather(*loading)
        await guard.check(before, ASKED)  # signed by the last key, still good
        assert {reason for _, reason in seen} == {None}
        kids = [kid for kid, _ in seen]
        assert set(kids) == {old, new}
        phases = {row["kid"]: (row["phase"], row["current"]) for row in await keymaster.weft("keys", "list")}
        assert phases == {old: ("verifying", False), new: ("signing", True)}
        assert (await keymaster.client.verify())["differ"] == []  # records of both keys
        await closed(stack)


async def test_several_brokers_sign_with_one_key_whoever_made_it(here: Invoking, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Verifies that a broker on another machine gets the key that it lacks, sealed, from one that has it; and serves until then."""
    there = tmp_path / "there"
    shutil.copytree(here.server.settings.state, there, ignore=shutil.ignore_patterns("js", "vault.db*"))
    other: Settings = here.server.settings.model_copy(update={"state": there})
    agent = here.agent()
    nc = await here.connect(agent)
    async with here.workers(*WORKERS), running(broker, other):
        keymaster = await custodian(here.server, monkeypatch)
        new = (await keymaster.weft("keys", "rotate", "--publish", "0"))["kid"]
        async with asyncio.timeout(10):
            while not all(tokenkeys.find(settings, new) for settings in (here.server.settings, other)):  # noqa: ASYNC110 - files have no event
                await asyncio.sleep(0.05)
        kids = {kid_of((await granted(here, nc, agent)).token) for _ in range(20)}
        assert kids == {new}
        one, two = (tokenkeys.find(settings, new) for settings in (here.server.settings, other))
        assert tokenkeys.open_key(load_kek(other), two).kid == one.kid == new


async def test_a_compromised_key_is_believed_by_nobody(here: Invoking, monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: once a key is said to be compromised, no guard accepts what it signed or signs, whatever counter the token names.

    An entry that hits only what was minted below it would break it: who holds the key writes any number into a token.
    """
    agent, stack = here.agent(), []
    nc = await here.connect(agent)
    async with here.workers(*WORKERS):
        keymaster = await custodian(here.server, monkeypatch)
        guard = await guard_of(here, stack)
        (old,) = await jwks(here.server)
        tokens = [(await granted(here, nc, agent)).token for _ in range(3)]
        await guard.check(tokens[0], ASKED)
        said = await keymaster.weft("keys", "compromise", old, "--reason", "found in a bucket")
        assert [row["tool"] for row in said["signed"]] == ["web-search"] * 3
        assert said["successor"] not in (None, old)
        assert await jwks(here.server) == [said["successor"]]
        key = here.server.keys["tokens"]
        forged = TokenKey(old, key.private).sign({**claims_of(tokens[1]), "jti": "forged", "rev": said["entry"]})
        for token in (*tokens, forged):
            async with asyncio.timeout(6):
                while (reason := await refusal(guard, token)) not in (GuardReason.REVOKED, GuardReason.SIGNATURE):
                    assert reason is not None or token != forged, "accepted"
                    await asyncio.sleep(0.02)
        fresh = (await granted(here, nc, agent)).token
        assert kid_of(fresh) == said["successor"]
        await guard.check(fresh, ASKED)
        assert tokenkeys.find(here.server.settings, old) is None  # destroyed
        assert (await keymaster.client.verify())["differ"] == []  # what it signed before stays on record, and can be computed again
        types = [kept["type"] for _, kept in await here.record()]
        assert types.count(ISSUED) == 4
        assert REVOKED in types
        await closed(stack)


async def test_a_key_that_is_compromised_while_its_successor_waits(here: Invoking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifies that the successor signs at once, and that nobody is without a token until its time would have come."""
    agent = here.agent()
    nc = await here.connect(agent)
    async with here.workers(*WORKERS):
        keymaster = await custodian(here.server, monkeypatch)
        (old,) = await jwks(here.server)
        new = (await keymaster.weft("keys", "rotate", "--publish", "600"))["kid"]
        said = await keymaster.weft("keys", "compromise", old, "--reason", "a drill")
        assert said["successor"] == new

        async def signed_by_the_new_one() -> bool:
            answer = await here.invoke(nc, agent, call=CALL)
            return isinstance(answer, Granted) and kid_of(answer.token or "") == new

        async with asyncio.timeout(5):
            while not await signed_by_the_new_one():  # noqa: ASYNC110 - the broker hears of the fact by itself
                await asyncio.sleep(0.05)


def claims_of(token: str) -> dict[str, Any]:
    from weft.digest import unb64u

    return json.loads(unb64u(token.split(".")[1]))


async def refusal(guard: Guard, token: str) -> GuardReason | None:
    try:
        await guard.check(token, ASKED)
    except Refused as refused:
        return refused.reason
    return None


async def test_keys_are_kept_for_what_they_signed_and_never_deleted(here: Invoking, monkeypatch: pytest.MonkeyPatch) -> None:
    from schemas.commands import Change
    from schemas.facts import Kind
    from workers.cli.exits import Stop
    from workers.common.operator_client import Refused as CommandRefused

    async with here.workers("revocation", "registry", "broker", "audit"):
        keymaster = await custodian(here.server, monkeypatch)
        (old,) = await jwks(here.server)
        with pytest.raises(CommandRefused, match="never deleted"):
            await keymaster.client.apply([Change(kind=Kind.KEY, key=f"tokens.{old}")])
        held = (await keymaster.client.query(what="get", kind=Kind.KEY, key=f"tokens.{old}")).rows[0]["fact"]["body"]
        for changes in ({"state": "retired", "not_after": 1}, {"state": "compromised"}, {"not_after": int(time.time()) + 5}):
            from tests.support.facts import body

            with pytest.raises(CommandRefused, match="no key would be left"):
                await keymaster.client.apply([Change(kind=Kind.KEY, key=f"tokens.{old}", body=body(held | changes))])
        await keymaster.weft("keys", "rotate", "--publish", "600")
        with pytest.raises(Stop, match="one rotation at a time"):
            await keymaster.weft("keys", "rotate")
        plain = await custodian(here.server, monkeypatch, roles=("registrar", "auditor"))
        with pytest.raises(CommandRefused, match="custodian"):
            await plain.client.prepare_key("x")
    assert LAST_TOKEN_S > 300


async def receipt_kid(here: Invoking, keymaster: Custodian, number: int) -> str:
    """Whose signature stands under what was done last."""
    agent = f"spiffe://88mph.com/agents/nobody-{number}"
    await keymaster.client.revoke(Revoke(id=f"receipt-{number}", kind="agent", value=agent, reason="test"))
    told = [found["data"]["receipt"] for _, found in await here.record() if found["type"] == RESPONDED]
    return kid_of(told[-1])


async def test_the_keys_of_signals_change_and_nobody_is_left_behind(here: Invoking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifies that the next key of SETs is published before it signs, that the fabric's own voices know it, and that a stolen one goes."""
    settings = here.server.settings
    jwks, ceiling = {"keys": [here.server.keys["signals"].jwk]}, TransmitterCeiling(namespaces=(ROOT,), strongest="step_up")
    voices = [Transmitter(iss=iss, aud=settings.issuer, jwks=jwks, trust={"*": "low"}, ceiling=ceiling) for iss in (POINTS, DETECTIONS)]
    await here.server.put_facts(*voices)

    async with here.workers("revocation", "registry", "audit", "signals"):
        keymaster = await custodian(here.server, monkeypatch)

        async def bodies(kind: Kind) -> list[dict[str, Any]]:
            return [row["fact"]["body"] for row in await keymaster.client.all(what="list", kind=kind)]

        async def published() -> tuple[set[str], set[str]]:
            """Kids of the keys of SETs that count, and of those that the fabric's own voices know."""
            known = {key["kid"] for key in await bodies(Kind.KEY) if key["purpose"] == "signals" and key.get("state", "active") == "active"}
            one, other = [{jwk["kid"] for jwk in voice["jwks"]["keys"]} for voice in await bodies(Kind.TRANSMITTER)]
            assert one == other
            return known, one

        old = here.server.keys["signals"].kid
        assert await receipt_kid(here, keymaster, 1) == old
        new = (await keymaster.weft("keys", "rotate", "--of", "signals", "--publish", "2"))["kid"]
        assert await published() == ({old, new}, {old, new})
        assert await receipt_kid(here, keymaster, 2) == old
        kids = [await receipt_kid(here, keymaster, 3 + number) for number in range(2)]
        async with asyncio.timeout(20):
            while kids[-1] == old:
                kids.append(await receipt_kid(here, keymaster, 3 + len(kids)))
        assert kids[-1] == new
        rows = {row["kid"]: row["phase"] for row in await keymaster.weft("keys", "list", "--of", "signals")}
        assert rows == {old: "verifying", new: "signing"}
        await keymaster.weft("keys", "compromise", old, "--reason", "found on a laptop")
        assert await published() == ({new}, {new})
        assert await receipt_kid(here, keymaster, 99) == new
        assert (await keymaster.weft("keys", "sweep", "--of", "signals"))["destroyed"] == [old]
        rs256 = (await keymaster.weft("keys", "rotate", "--of", "signals-rs256", "--publish", "0"))["kid"]
        assert any(row["kid"] == rs256 for row in await keymaster.weft("keys", "list", "--of", "signals-rs256"))
