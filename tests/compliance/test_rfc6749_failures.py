"""RFC 6749 sections 2.3.1 and 10.10: failed client authentication is protected against guessing, which begins with somebody seeing it."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.record import MAX_ADDRESSES, NotAuthenticated
from tests.support.identities import NOW, Signer
from tests.support.oauth import FRONT, OAuthWorld, client
from workers.broker.oauth import failures
from workers.broker.oauth.failures import ALARM, MAX_NAMED, Failures

CC = {"grant_type": "client_credentials"}


async def told(world: OAuthWorld) -> list[dict[str, Any]]:
    await world.handlers.failures.close()
    return [event["data"] for event in await world.records() if event["type"] == "org.weft.record.notauthenticated.v1"]


async def fail(world: OAuthWorld, times: int = 1, **proof: Any) -> None:
    for _ in range(times):
        answer = await world.post("/oauth/token", {**CC, **(proof or world.proven("front", signer=Signer(kid="front-1")))})
        assert answer.status_code == 401, answer.text


async def test_guesses_at_a_client_are_one_event(world: OAuthWorld) -> None:
    """INVARIANT: who fails to prove to be a client is on RECORD, counted, with the client that it named and no more of it than digests.

    Broken by a log line alone, which no detection reads, or by an event for each, which strangers would fill RECORD with.
    """
    await fail(world, 3)
    events = await told(world)
    assert len(events) == 1
    event = events[0]
    assert event == {
        "client": "front", "workload": FRONT, "instance": event["instance"], "failures": 3, "replays": 0,
        "addresses": event["addresses"], "address_count": 1, "since": NOW, "until": NOW,
    }  # fmt: skip
    assert "127.0.0.1" not in str(event)
    assert await told(world) == [event], "told once"


async def test_many_are_told_at_once_and_the_rest_with_the_window(world: OAuthWorld) -> None:
    await fail(world, ALARM)
    await world.handlers.failures.flush()
    assert [event["data"]["failures"] for event in await world.records()] == [ALARM]
    await fail(world, 2 * ALARM)
    assert [event["failures"] for event in await told(world)] == [ALARM, 2 * ALARM]


async def test_an_assertion_shown_again_is_a_replay(world: OAuthWorld) -> None:
    proof = world.proven("front")
    assert (await world.post("/oauth/introspect", {**proof, "token": "x"})).status_code == 200
    await fail(world, 2, **proof)
    assert [(event["client"], event["failures"], event["replays"]) for event in await told(world)] == [("front", 2, 2)]


async def test_names_that_are_nobodys_are_one_event(world: OAuthWorld) -> None:
    stranger = Signer(kid="x")
    for number in range(5):
        await fail(world, **world.proven(f"nobody-{number}", signer=stranger))
    await fail(world, client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer", client_assertion="nonsense")
    (event,) = await told(world)
    assert (event.get("client"), event["failures"]) == (None, 6)


async def test_an_svid_names_the_client_of_its_workload(world: OAuthWorld) -> None:
    world.put(client("svid-front", auth_method="spiffe_jwt", spiffe_id=FRONT))
    forged = {**world.svid(FRONT), "client_id": "svid-front"}
    await fail(world, **{**forged, "client_assertion": forged["client_assertion"][:-8] + "AAAAAAAA"})
    assert [event["client"] for event in await told(world)] == ["svid-front"]


async def test_a_good_request_counts_nowhere(world: OAuthWorld) -> None:
    assert (await world.post("/oauth/token", {**CC, **world.proven()})).status_code == 200
    await world.post("/oauth/token", {"grant_type": "nonsense", **world.proven()})
    assert await told(world) == []
    assert world.handlers.failures.total == 0


async def test_what_record_does_not_take_waits_for_it(world: OAuthWorld) -> None:
    await fail(world)
    world.stream.full = True
    assert await told(world) == []
    world.stream.full = False
    await world.handlers.failures.flush()
    assert len(await world.records()) == 1


def test_what_strangers_cause_is_bounded() -> None:
    """INVARIANT: however many clients are named, from however many addresses, a window is a bounded number of events of bounded size.

    Broken by an event for each client that somebody names, or a list of every address.
    """
    counted, world = Failures(), OAuthWorld()
    named = [world.facts.client("front").model_copy(update={"client_id": f"c{number}"}) for number in range(3 * MAX_NAMED)]
    alarms = [
        event for one in named for number in range(2 * ALARM) if (event := counted.note(one, f"192.0.{number}.{number}", NOW)) is not None
    ]
    events = [*alarms, *counted.due(NOW + 60)]
    assert len(events) <= 2 * MAX_NAMED + 1
    assert sum(event.failures for event in events) == counted.total == len(named) * 2 * ALARM, "none is lost"
    assert all(len(event.addresses) <= MAX_ADDRESSES for event in events)
    assert max(len(event.wire()) for event in events) < 1000
    assert counted.due(NOW + 120) == []


async def test_a_window_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from tests.support.hotpath import FixedClock

    written: asyncio.Queue[NotAuthenticated] = asyncio.Queue()
    monkeypatch.setattr(failures, "WINDOW_S", 0.05)
    counting = failures.FailureRecords(written.put, FixedClock())
    counting.note(None, "192.0.2.1")
    running = asyncio.create_task(counting.run())
    async with asyncio.timeout(5):
        assert (await written.get()).failures == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
