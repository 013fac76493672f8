"""Who a connection is: an Ed25519 nkey of its own, and what binds the caller to it.  SPIFFE Workload API section 6.2.1, JWT-SVID section 3.

Agents and points fetch a JWT-SVID whose audience names the key (`weft:<trust domain>:<public nkey>`), so that a copy of it is worth
nothing on another connection.  Operators are known by a personal key.  The SVID is this process's own and comes from its Workload
API, so it is read here and verified by those it is shown to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from weft.errors import Malformed, Unavailable
from weft.jws import parse_jws
from weft.nkey import KeyPair
from weft.reading import is_instance, seconds, text
from weft.spiffeid import InvalidSpiffeID, SpiffeID
from weft.strictjson import parse_object

Kind = Literal["agent", "point", "operator"]
SVIDSource = Callable[[str], Awaitable[str]]
SVID_DEADLINE_S = 5.0
MAX_SVID_BYTES = 16_384
RENEW_AT = 0.8  # of an SVID's life


@dataclass(frozen=True, slots=True)
class Identity:
    """What one connection shows.  `name` is how the server attests it to others."""

    kind: Kind
    key: KeyPair
    name: str
    token: str = field(repr=False)  # what CONNECT carries
    svid: str = field(default="", repr=False)
    spiffe_id: SpiffeID | None = None
    instance: str | None = None
    renew_at: float | None = None  # seconds since the epoch

    def renew_in(self, now: float) -> float | None:
        """Seconds until it should be replaced; None for never."""
        return None if self.renew_at is None else max(1.0, self.renew_at - now)


class WorkloadAPI:
    """The SPIFFE Workload API of this machine, as SPIRE or the development issuer serve it.  Needs the extra `spiffe`."""

    def __init__(self, socket: str | None = None, *, timeout_s: float = SVID_DEADLINE_S) -> None:
        """`socket` as in SPIFFE_ENDPOINT_SOCKET, which is read when it is absent."""
        self._socket = socket
        self._timeout_s = timeout_s

    async def __call__(self, audience: str) -> str:
        """A JWT-SVID for the audience; raises Unavailable.  The client blocks, so it runs in a thread, with its own deadline."""
        return await asyncio.to_thread(self._fetch, audience)

    def _fetch(self, audience: str) -> str:
        from spiffe import WorkloadApiClient
        from spiffe.errors import PySpiffeError

        try:
            with WorkloadApiClient(self._socket) as client:
                svid: str = client.fetch_jwt_svid({audience}, timeout=self._timeout_s).token
        except PySpiffeError as error:
            raise Unavailable(f"the Workload API gave no SVID: {type(error).__name__}") from None
        return svid


def operator_identity(key: KeyPair) -> Identity:
    """A person's: the key alone."""
    return Identity("operator", key, key.public, "operator")


async def workload_identity(kind: Literal["agent", "point"], source: SVIDSource, trust_domain: str) -> Identity:
    """A fresh key and an SVID bound to it; raises Unavailable."""
    key = KeyPair("U")
    try:
        async with asyncio.timeout(SVID_DEADLINE_S + 1):
            return _identity(kind, key, await source(f"weft:{trust_domain}:{key.public}"))
    except TimeoutError:
        raise Unavailable("the Workload API did not answer in time") from None
    except (Malformed, InvalidSpiffeID) as error:
        raise Unavailable(f"the SVID cannot be read: {error}") from None


def _identity(kind: Literal["agent", "point"], key: KeyPair, svid: str) -> Identity:
    claims = parse_object(parse_jws(svid, MAX_SVID_BYTES).payload, "the SVID")
    spiffe_id = SpiffeID.parse(text(claims, "sub"))
    instance = claims.get("weft_instance", f"k{key.public[1:27].lower()}")  # without an attested one, the key's
    if not is_instance(instance):
        raise Malformed("weft_instance is not an instance id")
    issued = seconds(claims, "iat") if "iat" in claims else int(time.time())
    return Identity(
        kind=kind,
        key=key,
        name=f"{instance}.{spiffe_id.subject}",
        token=f"{kind} {svid}",
        svid=svid,
        spiffe_id=spiffe_id,
        instance=instance,
        renew_at=issued + RENEW_AT * (seconds(claims, "exp") - issued),
    )
