"""Cascade: what descends from a revoked token ends with it, by the token's own claims, and what the delegate does for itself does not.

Real gateway, broker and revocation view; the brokers may lag behind one another, and a delegate may try everything it has.
"""

from __future__ import annotations

from typing import Any

import pytest
from weft.claims import VerifiedToken
from weft.digest import b64u, unb64u
from weft.errors import TokenRefused
from weft.revocation import RevocationView
from weft.token import verify_token

from schemas.facts import Kind
from schemas.invocation import Granted
from schemas.reasons import DenyReason
from tests.support.hotpath import SETTINGS, HotPath
from tests.support.invocations import SEARCH, AgentSide
from tests.support.signed import Writer
from workers.broker.mint import Mint
from workers.common.requests import RequestRefused
from workers.common.verification import Verifier

DELEGATE = {"tool": "search-agent", "actions": ["delegate"]}


class Views:
    """A broker's: the small fabric's, with a revocation view of its own."""

    def __init__(self, hot: HotPath, view: RevocationView) -> None:
        self._hot, self._view = hot, view

    @property
    def revocations(self) -> int:
        return self._view.counter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hot.views, name)


class Place:
    """Two brokers over one record, each with a view of its own; a guard's view; the writer."""

    def __init__(self) -> None:
        self.hot = HotPath()
        self.writer = Writer()
        self.views = [self._view() for _ in range(3)]
        self.guard = self.views[2]
        self.brokers = [self._broker(view) for view in self.views[:2]]
        self.researcher = self.hot.agent()
        self.search = self.hot.agent(id=SEARCH, instance="i" + "c3" * 13)

    def _view(self) -> RevocationView:
        return RevocationView({self.writer.kid: self.writer.public}.get)

    def _broker(self, view: RevocationView) -> Mint:
        return self.hot.new_mint(views=Views(self.hot, view), verifier=Verifier(self.hot.table, view, SETTINGS))

    async def grant(self, broker: int, agent: AgentSide, **changes: Any) -> VerifiedToken:
        """By that broker, whatever the gateway knows of revocations: a gateway that lies gets no further."""
        granted: Granted = await self.brokers[broker].grant(await self.hot.allowed(agent, **changes))
        return self.opened(granted.token)

    def opened(self, token: str) -> VerifiedToken:
        keys = {self.hot.signer.kid: self.hot.signer._private.public_key()}
        return verify_token(token, keys, issuer=SETTINGS.issuer, audiences=("88mph.com",), now=self.hot.clock.at)

    def revoke(self, kind: str, value: str, *heard: int) -> None:
        """An entry; only these views hear it (0 and 1 the brokers, 2 the guard)."""
        jws = self.writer.entry((kind, value), at=int(self.hot.clock.at))
        for view in heard:
            self.views[view].apply_entry(jws)


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.mark.parametrize("kind", ["token", "transaction", "instance", "agent"])
async def test_a_descendant_ends_with_what_it_descends_from_and_the_delegates_own_does_not(place: Place, kind: str) -> None:
    """INVARIANT: an entry for a token, its bearer or its transaction hits all that was delegated under it, and nothing that the delegate
    does on its own account; no posture of the delegate is touched.

    Broken by looking at the token's own id alone, or by revoking whoever was called.
    """
    parent = await place.grant(0, place.researcher, **DELEGATE)
    child = await place.grant(1, place.search, parent=parent.raw)
    own = await place.grant(0, place.search)
    sibling = await place.grant(0, place.researcher, id="another")
    before = place.hot.table.version(Kind.POSTURE)
    value = {"token": parent.jti, "transaction": parent.txn, "instance": parent.act.instance, "agent": parent.act.sub}[kind]
    place.revoke(kind, value, 0, 1, 2)
    hit = {name: place.guard.revoked(token) is not None for name, token in vars_of(parent, child, own, sibling).items()}
    assert hit == {"parent": True, "child": True, "own": False, "sibling": kind in ("instance", "agent")}
    assert place.hot.table.version(Kind.POSTURE) == before
    fresh = await place.grant(0, place.search, id="later")  # the delegate goes on, for itself
    assert place.guard.revoked(fresh) is None


def vars_of(*tokens: VerifiedToken) -> dict[str, VerifiedToken]:
    return dict(zip(("parent", "child", "own", "sibling"), tokens, strict=True))


async def test_a_broker_that_has_not_heard_mints_nothing_that_a_guard_accepts(place: Place) -> None:
    """INVARIANT: a child minted by a broker that lags behind the revocation of its parent is refused by every guard that has heard it,
    and so is what is delegated further from it.

    Broken by a child that carries a counter higher than its broker's view, or a chain that names its parent's parent no more.
    """
    parent = await place.grant(0, place.researcher, **DELEGATE)
    place.revoke("token", parent.jti, 0, 2)  # broker 1 lags
    with pytest.raises(RequestRefused) as refused:
        await place.grant(0, place.search, parent=parent.raw)
    assert refused.value.reason is DenyReason.PARENT_REVOKED
    child = await place.grant(1, place.search, parent=parent.raw, id="late")
    assert place.guard.revoked(child) is not None
    with pytest.raises(RequestRefused) as again:  # the child as a parent, at the broker that knows
        await place.grant(0, place.search, parent=child.raw, id="further")
    assert again.value.reason is DenyReason.PARENT_REVOKED
    further = await place.grant(1, place.search, parent=child.raw, id="further-still")  # and at the one that does not
    assert place.guard.revoked(further) is not None


async def test_a_delegate_cannot_cut_its_chain(place: Place) -> None:
    """INVARIANT: who acted before cannot be taken out of a token, or left out of the next.

    Broken by a chain that is not under the signature, or by taking it from the request.
    """
    parent = await place.grant(0, place.researcher, **DELEGATE)
    child = await place.grant(0, place.search, parent=parent.raw)
    header, payload, signature = child.raw.split(".")
    cut = unb64u(payload).replace(parent.jti.encode(), b"0" * len(parent.jti))
    assert cut != unb64u(payload)
    with pytest.raises(TokenRefused):
        place.opened(f"{header}.{b64u(cut)}.{signature}")
    sibling = await place.grant(0, place.search, parent=child.raw, id="second")  # its own token, shown again
    place.revoke("token", parent.jti, 0, 2)
    assert place.guard.revoked(child) is not None
    assert place.guard.revoked(sibling) is not None


async def test_completing_a_token_ends_its_descendants_and_not_what_it_came_from(place: Place) -> None:
    parent = await place.grant(0, place.researcher, **DELEGATE)
    child = await place.grant(0, place.search, parent=parent.raw)
    place.revoke("token", child.jti, 0, 1, 2)
    assert place.guard.revoked(child) is not None
    assert place.guard.revoked(parent) is None
