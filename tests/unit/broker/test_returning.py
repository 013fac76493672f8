"""What a broker obtained is taken back though it was killed: by the next one, or by one that stands beside it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from schemas.reasons import DenyReason
from tests.support.identities import NOW
from tests.support.ledgers import Disk
from tests.unit.broker.test_authservers import SERVER, TOKEN, Town, answer, call
from workers.common.outbound import OutboundFailed

REVOKE = SERVER.revocation_endpoint or ""


def revoked(town: Town) -> list[str]:
    """Which tokens that server was asked to revoke."""
    return [town.theirs.form(number)["token"] for number, (_, url, _) in enumerate(town.theirs.sent) if url == REVOKE]


async def killed(disk: Disk, *, life_s: int = 60, egress: bool = False, **changes: Any) -> Town:
    """A broker that handed out `opaque-1` for the call `j`, and is gone."""
    town = Town(disk, "dead", **changes)
    town.theirs.answers[SERVER.token_endpoint or ""] = [answer({**TOKEN, "expires_in": life_s})]
    await (town.elsewhere.for_egress if egress else town.elsewhere.for_agent)("crm", call())
    await town.ledger.close()
    return town


async def looked(town: Town, now: float = NOW) -> Town:
    town.clock.at = now
    await town.elsewhere.returning.look()
    await asyncio.gather(*town.tasks)
    return town


async def test_what_was_revoked_meanwhile_is_taken_back_by_the_next_one() -> None:
    """INVARIANT: what a killed broker obtained is revoked where it was issued once a revocation names a call that it served (issue 4).

    Broken by keeping it in memory alone, or by keeping the call it was obtained for and none that it served after.
    """
    disk = Disk()
    dead = Town(disk, "dead")
    await dead.elsewhere.for_agent("crm", call())
    await dead.elsewhere.for_agent("crm", call("k", ("b",)))
    await dead.ledger.close()
    town = Town(disk, "next")
    town.view = lambda token: 1 if "b" in token.targets else None
    await looked(town)
    assert revoked(town) == ["opaque-1"]
    assert (town.said(), disk.rows) == (["revoked"], {})


async def test_what_serves_a_live_call_goes_on_and_is_still_taken_back() -> None:
    disk = Disk()
    await killed(disk)
    town = await looked(Town(disk, "next"))
    assert (revoked(town), len(disk.rows)) == ([], 1)
    assert (await town.elsewhere.for_agent("crm", call("k"))).token == "opaque-1", "and serves the same two"
    town.hit.add("j")
    town.elsewhere.returning.revoked()
    await asyncio.gather(*town.tasks)
    assert (revoked(town), disk.rows) == (["opaque-1"], {})


async def test_of_two_brokers_beside_a_dead_one_one_acts() -> None:
    disk = Disk()
    await killed(disk)
    pair = [Town(disk, "one"), Town(disk, "two")]
    for town in pair:
        town.hit.add("j")
        await looked(town)
    assert sorted(map(revoked, pair)) == [[], ["opaque-1"]]


@pytest.mark.parametrize("revocable", [True, False])
async def test_what_lives_longer_than_its_tool_allows_is_taken_back_at_the_tools_limit(revocable: bool) -> None:
    """INVARIANT: what the egress was shown lives no longer than the tool allows, where its server can end it (docs/tokens.md).

    Broken by letting it live on until it ends by itself, an hour after the last call it was for.
    """
    disk = Disk()
    server = {"revocable": revocable}
    town = Town(disk, "a", server=server)
    town.theirs.answers[SERVER.token_endpoint or ""] = [answer({**TOKEN, "expires_in": 3600})]
    await town.elsewhere.for_egress("crm", call())
    await looked(town, NOW + 59)
    assert len(disk.rows) == 1
    await looked(town, NOW + 60)
    assert (revoked(town), disk.rows) == (["opaque-1"] if revocable else [], {})
    await killed(disk, life_s=3600, egress=True, server=server)
    town = await looked(Town(disk, "next"), NOW + 60)
    assert (revoked(town), disk.rows) == (["opaque-1"] if revocable else [], {}), "also one that a dead broker left"


async def test_what_was_not_handed_out_when_it_died_is_taken_back() -> None:
    """INVARIANT: a token that is not on RECORD as obtained, or was refused, does not live on because its broker died over it (issue 4).

    Broken by writing it down as one that serves before it does.
    """
    disk = Disk()
    dead = Town(disk, "dead")
    waiting = asyncio.Event()
    record = dead.elsewhere._telling._record.record

    async def stuck(subject: str, body: bytes, msg_id: str) -> int:
        if dead.stream.messages:
            waiting.set()
            await asyncio.Event().wait()
        return await record(subject, body, msg_id)

    dead.elsewhere._telling._record.record = stuck  # type: ignore[method-assign]
    dying = asyncio.ensure_future(dead.elsewhere.for_agent("crm", call()))
    await waiting.wait()
    await dead.ledger.close()  # killed between the answer and its record
    town = await looked(Town(disk, "next"))
    assert (revoked(town), disk.rows) == (["opaque-1"], {})
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)


async def test_what_was_being_taken_back_when_it_died_is_taken_back() -> None:
    disk = Disk()
    dead = Town(disk, "dead")
    await dead.elsewhere.for_agent("crm", call())
    dead.theirs.answers[REVOKE] = [OutboundFailed("unreachable")]
    dead.hit.add("j")
    dead.elsewhere.returning.revoked()
    async with asyncio.timeout(5):
        while len(dead.theirs.sent) < 2:  # noqa: ASYNC110 - what it sends is listed, there is no event
            await asyncio.sleep(0)
    await dead.ledger.close()
    for task in dead.tasks:
        task.cancel()
    town = await looked(Town(disk, "next"))
    assert revoked(town) == ["opaque-1"], "though this one's view names nothing of it"


async def test_what_cannot_be_kept_is_not_used() -> None:
    """INVARIANT: no token of another server is used that a killed broker would leave behind unknown (issue 4).

    Broken by handing it out and writing it down afterwards.
    """
    disk = Disk(full=True)
    town = Town(disk)
    assert await town.reason() is DenyReason.BROKER_UNAVAILABLE
    assert (revoked(town), town.said()) == (["opaque-1"], ["asked", "revoked"])
    disk.full = False
    await town.elsewhere.for_agent("crm", call())
    disk.full = True
    assert await town.reason("k") is DenyReason.BROKER_UNAVAILABLE, "nor again for a call that the disk does not know of"


async def test_a_revocation_during_the_last_step_is_heard() -> None:
    town = Town()
    keep = town.ledger.keep

    async def hit(held: Any) -> None:
        await keep(held)
        if held.serves:
            town.hit.add("j")
            town.elsewhere.returning.revoked()

    town.ledger.keep = hit  # type: ignore[method-assign]
    assert await town.reason() is DenyReason.REVOKED
    assert revoked(town) == ["opaque-1"]


@pytest.mark.parametrize("away", [OutboundFailed("unreachable"), answer(b"<html>", 502), answer(b"", 429), answer(b"", 503)], ids=str)
async def test_a_server_that_is_away_is_asked_until_it_is_back(away: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifies that a proxy's word for a server that restarts is no refusal."""
    monkeypatch.setattr("workers.broker.authservers.returning.AGAIN_S", (0.0, 0.0))
    town = Town()
    await town.elsewhere.for_agent("crm", call())
    town.theirs.answers[REVOKE] = [away, away, answer(b"")]
    town.hit.add("j")
    town.elsewhere.returning.revoked()
    await asyncio.gather(*town.tasks)
    assert (revoked(town), town.said()) == (["opaque-1"] * 3, ["asked", "got", "revoked"])
    town.theirs.answers[SERVER.token_endpoint or ""] = [away]
    assert await town.reason("k") is DenyReason.AUTHSERVER_UNAVAILABLE
    assert town.said()[-1] == "unknown"


async def test_what_does_not_open_is_said_once() -> None:
    """Verifies that somebody hears of tokens that nobody can take back: a key-encryption key that went too early."""
    town = Town()
    town.ledger.unreadable = 1
    await looked(town)
    adopt = town.ledger.adopt

    async def unreadable(now: float) -> list[Any]:
        town.ledger.unreadable = 3
        return await adopt(now)

    town.ledger.adopt = unreadable  # type: ignore[method-assign]
    await looked(town)
    await looked(town)
    town.elsewhere.returning._log.error.assert_called_once_with("obtained_unreadable", count=2)


async def test_a_broker_that_cannot_read_what_others_left_says_so_and_goes_on() -> None:
    town = Town()
    found = asyncio.Event()

    async def adopt(now: float) -> list[Any]:
        from workers.broker.authservers.ports import NotKept

        found.set()
        raise NotKept("what others left cannot be read: OperationalError")

    town.ledger.adopt = adopt  # type: ignore[method-assign]
    upkeep = asyncio.ensure_future(town.elsewhere.returning.upkeep())
    await found.wait()
    await asyncio.sleep(0)
    assert not upkeep.done()
    upkeep.cancel()
