"""When a token key signs, and how long what it signed is verified.  NIST SP 800-57 part 1 section 5.3.5: a key has an originator-usage
period and a longer recipient-usage period; OpenID Connect Core 1.0 section 10.1.1: publish before use, keep until the last token ends.

The facts hold the periods (`not_before`, `not_after`), so every broker, guard and JWKS changes over by the clock, at one time, without a
message that could come late.  Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from schemas.facts import Key
from schemas.token import MAX_TTL_S, SKEW_S

GRACE_S = 60  # a broker that does not hold the next key yet goes on with the last one
LAST_TOKEN_S = MAX_TTL_S + GRACE_S + SKEW_S  # what a key signed last has expired so long after its period

Phase = Literal["published", "signing", "verifying", "retired", "compromised"]


def phase(key: Key, now: float, last_s: float = LAST_TOKEN_S) -> Phase:
    """Where in its life it is; `last_s`: how long what it signed last counts.  Of several that sign, the latest `not_before` does."""
    if key.state == "compromised":
        return "compromised"
    ends = math.inf if key.not_after is None else key.not_after
    if (key.state == "retired" and key.not_after is None) or now >= ends + last_s:
        return "retired"
    if now < key.not_before:
        return "published"
    return "signing" if now < ends and key.state == "active" else "verifying"


def verifying(keys: Iterable[Key], now: float) -> tuple[Key, ...]:
    """Whose signatures count: what signs, what signed a token that may live, and what will sign."""
    return tuple(key for key in keys if phase(key, now) not in ("retired", "compromised"))


def signing(keys: Iterable[Key], now: float) -> tuple[Key, ...]:
    """What may sign now, the one to use first; after it those whose period ended a moment ago, for a broker that lacks the first."""
    found = [key for key in keys if key.state == "active" and key.not_before <= now < _with_grace(key)]
    return tuple(sorted(found, key=lambda key: (-key.not_before, key.kid)))


def next_change(keys: Iterable[Key], now: float) -> float:
    """When the answers above may differ next, keys left as they are."""
    ends = [end for key in keys if key.not_after is not None for end in (key.not_after, _with_grace(key), key.not_after + LAST_TOKEN_S)]
    return min((at for at in (*(key.not_before for key in keys), *ends) if at > now), default=math.inf)


def _with_grace(key: Key) -> float:
    return math.inf if key.not_after is None else key.not_after + GRACE_S
