"""Whose a token or a transaction is, as RECORD tells: a revoker's role is over namespaces, and an id says nothing of one.

The command names the sequence of the event that the token was issued with (`weft revoke` finds it by way of audit); what stands there is
what counts, and not what the command says of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import orjson
from nats.aio.client import Client

from streams.subjects import RECORD
from workers.common import directget
from workers.signals.instances import Unanswered

_ISSUED = (RECORD.at("broker", "issued") + ".", RECORD.at("broker", "exchanged") + ".")  # the broker alone publishes there
_NAMED = {"token": "jti", "transaction": "txn"}


class Belonging:
    """RECORD, one event at a time."""

    def __init__(self, nc: Client, trust_domain: str) -> None:
        self._nc = nc
        self._root = f"spiffe://{trust_domain}"

    async def whose(self, kind: Literal["token", "transaction"], value: str, seq: int) -> str | None:
        """The agent or workload whose token this is, or which took part in that transaction; the trust domain where it is nobody's in
        particular; none where that event tells of no such token.  Raises Unanswered.
        """
        try:
            stored = await directget.at(self._nc, "RECORD", seq)
        except directget.Unavailable:
            raise Unanswered("RECORD did not answer") from None
        claims = _claims(stored)
        if claims is None or claims.get(_NAMED[kind]) != value:
            return None
        who = (claims.get("act") or {}).get("sub") or claims.get("workload") or self._root
        return str(who)


def _claims(stored: directget.Stored | None) -> Mapping[str, Any] | None:
    if stored is None or not stored.subject.startswith(_ISSUED):
        return None
    try:
        claims = orjson.loads(stored.body)["data"]["claims"]
    except (ValueError, LookupError, TypeError):
        return None
    return claims if isinstance(claims, Mapping) else None
