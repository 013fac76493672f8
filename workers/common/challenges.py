"""Challenges for proof of possession: values that nobody can name before the fabric has made them.

A challenge is the SHA-256 of a revocation beacon: committed once a second, signed by the revocation key and so not to be guessed, and
known to every gateway and broker from the view that they hold anyway; nothing is stored or handed from one to another.  Who signs a
request that names one shows that the key is there now: requests signed beforehand cannot.
"""

from __future__ import annotations

from collections import OrderedDict

from weft.digest import sha256
from weft.revocation_messages import BEACON_TYP, read_message

from schemas.invocation import REQUEST_LIFE_S

KEEP = 2 * REQUEST_LIFE_S  # at one a second


class Challenges:
    """Those of the last minute."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, float] = OrderedDict()

    def note(self, jws: str) -> None:
        """A beacon that the view has verified."""
        beacon = read_message(jws, BEACON_TYP).content
        self._made[sha256(jws)] = beacon.at
        while len(self._made) > KEEP:
            self._made.popitem(last=False)

    def newest(self) -> str | None:
        """What to hand to whoever has to answer one; none before the first beacon."""
        return next(reversed(self._made), None)

    def made_at(self, challenge: str | None) -> int | None:
        """When it was made, in whole seconds; none for one that we do not know, or no more."""
        at = self._made.get(challenge) if challenge is not None else None
        return None if at is None else int(at)
