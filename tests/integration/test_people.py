"""People of two providers on a real bus: a transmitter, `signals`, `revocation` and a guard, each as it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from weft.enforcement import Refused
from weft.errors import GuardReason
from weft.guard import Guard

from schemas.record import REVOKED
from schemas.signals import CAEP
from tests.integration.test_signals import AUD, Fabric, a_set, eventually
from tests.support.fabric import FabricServer
from tests.support.guarded import ASKED, Place, place
from tests.support.people import LOGIN, PARTNER, SIGNER, provider, speaker
from tests.support.workers import running
from workers.signals.app import build as build_signals

SUB = "marty@88mph.com"
NAMES = {LOGIN: SUB, PARTNER: f"partner::{SUB}"}


class Town:
    """One tool, two providers that both know a marty, and each provider's own voice."""

    def __init__(self, here: Place, fabric: Fabric, guard: Guard) -> None:
        self.here, self.fabric, self.guard = here, fabric, guard
        self.tokens = {iss: here.token(sub=name) for iss, name in NAMES.items()}

    async def logout(self, iss: str, sub_id: dict[str, Any]) -> dict[str, Any]:
        """What became of it."""
        before = len(await self.fabric.records("org.weft.record.responded.v1"))
        said = a_set(signer=SIGNER, iss=iss, aud=AUD, sub_id=sub_id, events={f"{CAEP}session-revoked": {}})
        assert (await self.fabric.send(said))["accepted"]
        return (await self.fabric.responded(before + 1))[-1]

    async def serves(self, iss: str) -> bool:
        """Whether the tool's guard still takes that provider's marty."""
        try:
            await self.guard.check(self.tokens[iss], ASKED)
        except Refused as refused:
            return refused.reason is not GuardReason.REVOKED
        return True

    async def ended(self, iss: str) -> None:
        """Once it does not."""
        await eventually(lambda: self._no(iss))

    async def _no(self, iss: str) -> bool:
        return not await self.serves(iss)


@pytest.fixture
async def town(fabric_server: FabricServer) -> AsyncIterator[Town]:
    fabric = Fabric(fabric_server)
    speakers = (speaker(iss, aud=AUD) for iss in NAMES)
    await fabric.start(provider(LOGIN), provider(PARTNER, "partner"), *speakers)
    async with place(fabric_server) as here, running(build_signals, fabric_server.settings):
        yield Town(here, fabric, await here.guard())


@pytest.mark.parametrize(("mine", "theirs"), [(LOGIN, PARTNER), (PARTNER, LOGIN)], ids=["the first", "the second"])
@pytest.mark.parametrize("format_", ["iss_sub", "email", "aliases"])
async def test_a_providers_logout_ends_its_own_people_alone(town: Town, mine: str, theirs: str, format_: str) -> None:
    """INVARIANT: no SET of one provider ends, quarantines or narrows a person of another, at any guard, whatever it says of whom it means.

    Broken by taking `sub` or an address for the person: the second provider would log everybody of the first one out, or back in.
    """
    own = {"format": "iss_sub", "iss": mine, "sub": SUB}
    foreign = {"format": "iss_sub", "iss": theirs, "sub": SUB}
    address = {"format": "email", "email": SUB}
    spelled = {"format": "iss_sub", "iss": mine, "sub": NAMES[PARTNER]}  # of the first, the second's person; of the second, nobody's
    for said in (foreign, {"format": "aliases", "identifiers": [foreign]}, *([spelled] if mine == LOGIN else [])):
        told = await town.logout(mine, said)
        assert told.get("target") is None, "whom it means is nobody of whom it may speak"
    told = await town.logout(
        mine, {"iss_sub": own, "email": address, "aliases": {"format": "aliases", "identifiers": [address, own]}}[format_]
    )
    assert told["response"] == "quarantine"
    await town.ended(mine)
    assert await town.serves(theirs)
    assert len(await town.fabric.records(REVOKED)) == 1


async def test_a_transmitter_of_neither_speaks_of_those_its_fact_lists(town: Town) -> None:
    edr = "https://edr.example"
    await town.here.server.put_facts(speaker(edr, (PARTNER,), aud=AUD))
    told = await town.logout(edr, {"format": "iss_sub", "iss": LOGIN, "sub": SUB})
    assert told.get("target") is None
    await town.logout(edr, {"format": "email", "email": SUB})
    await town.ended(PARTNER)
    assert await town.serves(LOGIN)


@pytest.mark.parametrize(("mine", "theirs"), [(LOGIN, PARTNER), (PARTNER, LOGIN)], ids=["the first", "the second"])
async def test_an_operator_revokes_a_person_by_the_name_the_fabric_has(town: Town, mine: str, theirs: str) -> None:
    preview = await town.fabric.revoke(kind="user", value=NAMES[mine], preview=True)
    done = await town.fabric.revoke(kind="user", value=NAMES[mine])
    assert preview["data"]["rows"][0]["target"] == done["data"]["rows"][0]["target"]
    assert done["data"]["rows"][0]["provider"] == mine
    await town.ended(mine)
    assert await town.serves(theirs)
    assert (await town.fabric.lift(scope="user", value=NAMES[mine]))["data"]["rows"][0]["level"] == "normal"
