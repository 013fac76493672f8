"""Lists of a period, what they say, and who may get an entry; CLAIMS in memory."""

from __future__ import annotations

from typing import Any

import pytest
from weft.jws import es256_key
from weft.revocation import RevocationView
from weft.statuslist import verify_status_list

from config.settings import Settings
from schemas.reasons import DenyReason
from schemas.status import PERIOD_S, Allocated
from streams import keys
from tests.support.signed import Writer
from workers.common.rpc import Refused
from workers.revocation.status import TRIES, StatusIssuer
from workers.revocation.statuslists import RENEW_S, Entries, ends_at, list_at, stands

NOW = 1_800_000_010


class Claims:
    """CLAIMS: create-if-absent, read by sequence."""

    def __init__(self) -> None:
        self.log: list[tuple[int, int, Allocated]] = []

    async def create(self, number: int, idx: int, allocated: Allocated, ttl_s: int) -> bool:
        assert ttl_s >= allocated.exp - NOW
        if any((number, idx) == (n, i) for n, i, _ in self.log):
            return False
        self.log.append((number, idx, allocated))
        return True

    async def read(self, number: int, entries: Entries) -> None:
        for n, idx, allocated in self.log[entries.seq :]:
            if n == number:
                entries.add(idx, allocated)
        entries.seq = len(self.log)


class Clock:
    def __init__(self) -> None:
        self.at = float(NOW)

    def now(self) -> float:
        return self.at


class Place:
    def __init__(self, settings: Settings) -> None:
        self.settings, self.claims, self.clock, self.writer = settings, Claims(), Clock(), Writer()
        self.view = RevocationView({self.writer.kid: self.writer.public}.get)
        self.choices = iter(range(10**6))
        self.issuer = self.copy()
        self.beat()

    def copy(self) -> StatusIssuer:
        return StatusIssuer(self.claims, self.view, self.settings, self.clock, choose=lambda _: next(self.choices))

    def beat(self) -> None:
        self.view.apply_beacon(self.writer.beacon(self.clock.at))

    def revoke(self, jti: str) -> None:
        self.view.apply_entry(self.writer.entry(("token", jti), at=int(self.clock.at)))
        self.beat()

    async def statuses(self, number: int, issuer: StatusIssuer | None = None) -> Any:
        answer = await (issuer or self.issuer).published(number)
        key = keys.load_or_create(self.settings, "status")
        uri = f"{self.settings.issuer}/status/{number}"
        return verify_status_list(answer.token, {key.kid: es256_key(key.jwk)}, uri=uri, now=self.clock.at)


def allocated(jti: str = "j1", rev: int = 0, exp: int = NOW + 60) -> Allocated:
    from weft.digest import target_digest

    return Allocated(targets=(target_digest("token", jti),), rev=rev, exp=exp)


@pytest.fixture
def place(tmp_path: Any) -> Place:
    return Place(Settings(state=tmp_path))


async def test_a_revoked_token_is_invalid_and_its_neighbours_are_not(place: Place) -> None:
    """INVARIANT: an entry reads INVALID exactly where a guard would refuse the token by an entry of REVOCATIONS.

    Broken by comparing counters the other way, or by judging a list once and not again.
    """
    mine, other, later = [await place.issuer.allocate(token) for token in (allocated("j1"), allocated("j2"), allocated("j1", rev=1))]
    number = int(mine.uri.rpartition("/")[2])
    assert [(await place.statuses(number)).statuses.get(given.idx) for given in (mine, other, later)] == [0, 0, 0]
    place.revoke("j1")
    assert [(await place.statuses(number)).statuses.get(given.idx) for given in (mine, other, later)] == [1, 0, 0]


async def test_no_entry_is_given_twice(place: Place) -> None:
    """INVARIANT: (URI, index) stands for one token, whichever copies give entries and whatever they choose.

    Broken by choosing in memory: two copies would choose alike.
    """
    place.choices = iter([5, 5, 5, 6, 5, 6, 7])
    given = [await issuer.allocate(allocated(f"j{n}")) for n, issuer in enumerate([place.issuer, place.copy(), place.issuer])]
    assert [one.idx for one in given] == [5, 6, 7]


async def test_a_full_list_refuses(place: Place) -> None:
    place.choices = iter([5] * (TRIES + 1))
    await place.issuer.allocate(allocated())
    with pytest.raises(Refused) as refused:
        await place.issuer.allocate(allocated("j2"))
    assert refused.value.reason is DenyReason.STATUS_UNAVAILABLE


async def test_another_copy_says_the_same(place: Place) -> None:
    given = await place.issuer.allocate(allocated())
    place.revoke("j1")
    number = int(given.uri.rpartition("/")[2])
    assert (await place.statuses(number, place.copy())).statuses.get(given.idx) == 1


async def test_a_copy_that_may_have_missed_an_entry_says_nothing(place: Place) -> None:
    """INVARIANT: a list is signed by a view that is current, or not at all.

    Broken by publishing what was true before a partition: verifiers off the bus would accept what every guard refuses.
    """
    given = await place.issuer.allocate(allocated())
    number = int(given.uri.rpartition("/")[2])
    await place.issuer.published(number)
    place.clock.at += 3.1
    with pytest.raises(Refused) as refused:
        await place.issuer.published(number)
    assert refused.value.reason is DenyReason.VIEW_STALE
    place.beat()
    await place.issuer.published(number)
    place.writer.entry(("token", "j9"))  # announced, and not arrived
    place.beat()
    with pytest.raises(Refused):
        await place.issuer.published(number)


async def test_a_list_is_signed_again_when_it_changes_or_grows_old_and_not_else(place: Place) -> None:
    given = await place.issuer.allocate(allocated())
    number = int(given.uri.rpartition("/")[2])
    first = await place.issuer.published(number)
    place.clock.at += 1
    place.beat()
    assert await place.issuer.published(number) == first
    place.revoke("j1")
    second = await place.issuer.published(number)
    assert second != first
    place.clock.at += RENEW_S
    place.beat()
    assert await place.issuer.published(number) != second


async def test_a_list_goes_with_the_last_of_its_tokens(place: Place) -> None:
    given = await place.issuer.allocate(allocated(exp=NOW + 300))
    number = int(given.uri.rpartition("/")[2])
    for at, there in ((NOW + 299.0, True), (ends_at(number) - 1.0, True), (ends_at(number) + 0.0, False)):
        place.clock.at = at
        place.beat()
        if there:
            await place.issuer.published(number)
        else:
            with pytest.raises(Refused, match="no such list"):
                await place.issuer.published(number)
    assert place.issuer._lists == {}


@pytest.mark.parametrize("exp", [NOW, NOW - 1, NOW + 306])
async def test_no_entry_for_what_is_no_live_token(place: Place, exp: int) -> None:
    with pytest.raises(Refused):
        await place.issuer.allocate(allocated(exp=exp))


def test_periods() -> None:
    number = list_at(NOW)
    assert number == NOW // PERIOD_S
    assert ends_at(number) > (number + 1) * PERIOD_S + 300  # a token minted in the last second, at its longest
    assert [stands(number + ahead, NOW) for ahead in (-3, 0, 1, 2)] == [False, True, True, False]
