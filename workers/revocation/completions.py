"""An agent ends its own token.  The token is verified as any tool would, and must act for the very instance that presents it.

A token ends once: each entry goes to every point and is recorded with what became of it there, and how often a token is shown costs an
agent nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from weft.digest import target_digest
from weft.errors import GuardReason, Malformed, TokenRefused
from weft.jws import es256_key
from weft.revocation import RevocationView
from weft.spiffeid import InvalidSpiffeID
from weft.token import TYPS, verify_token

from config.settings import Settings
from schemas.facts import Kind
from schemas.reasons import DenyReason
from schemas.revocation import Ordered
from streams.facts_table import FactsTable
from streams.subjects import parse_connection_name
from workers.common.clock import Clock
from workers.common.rpc import Refused
from workers.revocation.orders import Orders

REMEMBERED = 4096  # tokens that were ended here; of those the view tells soon


class Completions:
    """Verifies and orders."""

    def __init__(self, facts: FactsTable, view: RevocationView, settings: Settings, orders: Orders, clock: Clock) -> None:
        self._view = view
        self._ending: dict[str, asyncio.Future[Ordered]] = {}
        self._ended: OrderedDict[str, Ordered] = OrderedDict()
        self._facts = facts
        self._settings = settings
        self._orders = orders
        self._clock = clock
        self._read_at = (-1, -1)
        self._keys: dict[str, EllipticCurvePublicKey] = {}
        self._audiences: frozenset[str] = frozenset()

    async def complete(self, caller: str, unverified_token: str) -> Ordered:
        """Once its entry is committed the token is dead, and so is what descends from it.  Raises Refused."""
        self._refresh()
        try:
            instance, workload = parse_connection_name(caller)
            token = verify_token(
                unverified_token, self._keys, issuer=self._settings.issuer, audiences=self._audiences, now=self._clock.now(), typs=TYPS
            )
        except InvalidSpiffeID:
            raise Refused(DenyReason.CALLER_UNKNOWN, "not the name of an agent") from None
        except TokenRefused as refused:
            expired = refused.reason is GuardReason.EXPIRED
            raise Refused(DenyReason.PARENT_EXPIRED if expired else DenyReason.PARENT_INVALID, refused.reason.value) from None
        if (token.act.instance, token.act.sub) != (instance, str(workload)):
            raise Refused(DenyReason.NOT_AUTHORIZED, "the token acts for another instance")
        ended = self._ended.get(token.jti)
        if ended is not None:
            return ended
        hit = self._view.hit((target_digest("token", token.jti),), token.rev)
        if hit is not None:
            return Ordered(n=hit, at=self._clock.now())
        return await asyncio.shield(self._ended_once(token.jti, caller))

    def _ended_once(self, jti: str, caller: str) -> asyncio.Future[Ordered]:
        """Whoever asks meanwhile waits for the same entry."""
        ending = self._ending.get(jti)
        if ending is None:
            ending = self._ending[jti] = asyncio.ensure_future(self._orders.complete(jti, caller))
            ending.add_done_callback(lambda done: self._settled(jti, done))
        return ending

    def _settled(self, jti: str, done: asyncio.Future[Ordered]) -> None:
        del self._ending[jti]
        if done.cancelled() or done.exception() is not None:
            return
        self._ended[jti] = done.result()
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    def _refresh(self) -> None:
        """Keys that may have signed a live token, and every audience that a token may have."""
        versions = (self._facts.version(Kind.KEY), self._facts.version(Kind.TOOL))
        if versions == self._read_at:
            return
        self._keys = dict(self._token_keys())
        self._audiences = frozenset((self._settings.trust_domain, *(tool.resource for tool in self._facts.tools())))
        self._read_at = versions

    def _token_keys(self) -> Mapping[str, EllipticCurvePublicKey]:
        keys = {}
        for fact in self._facts.keys("tokens"):
            try:
                if fact.state != "compromised":
                    keys[fact.kid] = es256_key(fact.jwk)
            except Malformed:
                continue  # a key that cannot be read signs nothing
        return keys
