"""How often one client may ask, by its identity and not by the way it proved it: `config.limits.OAuthLimits`.

After authentication, since only then there is an identity; what comes before is the address's to pay for, at the edge.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from config.limits import OAuthLimits
from schemas.reasons import DenyReason
from workers.broker.oauth.clients import Authenticated
from workers.broker.oauth.refusals import OAuthRefused
from workers.common.buckets import Buckets

Endpoint = Literal["token", "introspect", "revoke"]


class ClientLimits:
    """Of one copy of the broker."""

    def __init__(self, limits: OAuthLimits, clock: Callable[[], float] = time.monotonic) -> None:
        rates = {"token": limits.token, "introspect": limits.introspect, "revoke": limits.revoke}
        self._of = {endpoint: Buckets(rate.rate_per_s, rate.burst, clock) for endpoint, rate in rates.items()}

    def check(self, endpoint: Endpoint, client: Authenticated) -> None:
        """One more request.  Raises OAuthRefused: 429, and when to come again."""
        buckets, names = self._of[endpoint], identities(client)
        late = [name for name in names if not buckets.take(name)]
        if late:
            wait_s = max(buckets.wait_s(name) for name in late)
            raise OAuthRefused("temporarily_unavailable", "too many requests", DenyReason.RATE_LIMITED, status=429, retry_after_s=wait_s)


def identities(client: Authenticated) -> tuple[str, ...]:
    """The client, and the workload that it is: a workload with two clients, of two methods, is one; so is a client of many workloads."""
    own = f"client {client.client.client_id}"
    return (own,) if client.workload is None else (own, f"workload {client.workload}")
