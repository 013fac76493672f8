"""The entry of a status list that a token gets before it is recorded and signed, where its tool asks for one.

It costs one question to `revocation`.  An entry that is given and then not used, because the request was answered before or RECORD was
silent, stands for nothing: lists are large.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nats.aio.client import Client
from weft.claims import nested_targets, targets_of
from weft.digest import target_digest

from schemas.points import Failure
from schemas.reasons import DenyReason
from schemas.status import GIVEN, WANTED, Allocated, Given
from streams.bus import event
from streams.subjects import STATUS
from workers.common.asking import Unanswered, ask
from workers.common.requests import RequestRefused

SOURCE = "/weft/broker"
DEADLINE_S = 1.5


def wanted(claims: Mapping[str, Any], kid: str) -> Allocated:
    """What the issuer of lists has to know of a token that is about to be minted."""
    act = claims["act"]
    past = [(actor["sub"], actor["instance"], actor["jti"]) for actor in claims["act_chain"]]
    targets = targets_of(jti=claims["jti"], txn=claims["txn"], user=claims["sub"], kid=kid, act=(act["sub"], act["instance"]), past=past)
    replaced = (target_digest("token", link["jti"]) for link in claims.get("req_chain", ()))
    return Allocated(
        targets=tuple(dict.fromkeys((*targets, *replaced, *nested_targets(act.get("act"))))), rev=claims["rev"], exp=claims["exp"]
    )


class BusStatuses:
    """`ports.Statuses` on the bus."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    async def allocate(self, token: Allocated) -> Given:
        """See ports.Statuses."""
        try:
            given = await ask(self._nc, STATUS.at(), event(WANTED, token, source=SOURCE), GIVEN, Given, deadline_s=DEADLINE_S)
        except Unanswered as error:
            raise RequestRefused(DenyReason.STATUS_UNAVAILABLE, f"no entry of a status list: {error}") from None
        if isinstance(given, Failure):
            raise RequestRefused(DenyReason.STATUS_UNAVAILABLE, f"no entry of a status list: {given.reason}")
        return given
