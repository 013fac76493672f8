"""`weft keys rotate --of signals`: the keys of SETs and receipts.  Their private halves are files, made where the command runs.

`weft:points` and `weft:detections` are transmitters whose facts name the signals key themselves: they learn the next one with its fact, and
forget one that is compromised.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from schemas.commands import Change
from schemas.facts import Key, Kind, Transmitter
from schemas.signals import DETECTIONS, POINTS
from streams.keys import SignalsPurpose, SigningKey, destroy_key, first_kid, held_keys, next_key, take_over
from workers.common import keyperiods

if TYPE_CHECKING:
    from workers.common.operator_client import OperatorClient

PUBLISH_S = 3600  # receivers keep a copy of the JWKS as long as they like; an hour is what most of them do
Held = Mapping[str, tuple[Key, int]]


def make(client: OperatorClient, purpose: SignalsPurpose) -> SigningKey:
    """The private half, on this disk."""
    return next_key(client.settings, purpose)


async def voices(client: OperatorClient, *, learn: SigningKey | None = None, forget: str | None = None) -> list[Change]:
    """The changes of the fabric's own transmitters."""
    changes = []
    for row in await client.all(what="list", kind=Kind.TRANSMITTER):
        body = row["fact"].get("body") or {}
        if body.get("iss") not in (POINTS, DETECTIONS):
            continue
        fact = Transmitter.model_validate(body, strict=False)
        jwks = [jwk for jwk in fact.jwks.get("keys", ()) if jwk.get("kid") != forget]
        if learn is not None:
            jwks.append(learn.jwk)
        after = fact.model_copy(update={"jwks": {"keys": jwks}})
        changes.append(Change(kind=Kind.TRANSMITTER, key=row["fact"]["key"], body=after, expected=row["revision"]))
    return changes


def sweep(client: OperatorClient, purpose: SignalsPurpose, held: Held) -> Sequence[str]:
    """Destroys private halves on this disk that sign no more, or that no fact names; what signs takes the place of the first."""
    now, settings, gone = time.time(), client.settings, []
    here = {key.kid for key in held_keys(settings, purpose)}
    signing = next((key.kid for key in keyperiods.signing([key for key, _ in held.values()], now) if key.kid in here), None)
    over = [kid for kid in here if kid not in held or _is_over(held[kid][0], now)]
    for kid in over:
        if kid != first_kid(settings, purpose):
            destroy_key(settings, purpose, kid)
        elif signing is not None and signing != kid:
            take_over(settings, purpose, signing)
        else:
            continue
        gone.append(kid)
    return gone


def _is_over(key: Key, now: float) -> bool:
    return key.state != "active" or (key.not_after is not None and now >= key.not_after + keyperiods.GRACE_S)
