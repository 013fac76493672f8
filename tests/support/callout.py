"""A stand-in for admission: it believes every name it is told, and can be told to lie.

It answers the server's authorization requests exactly as admission must (ADR-26: sealed, addressed, signed by AUTH), but verifies no
SVID.  `forge` replaces what it grants, for tests of what a forged answer is worth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from weft.nkey import KeyPair

from streams import natsjwt
from streams.operator import AdmissionKeys

ACCOUNT_OF = {"agent": "AGENTS", "point": "POINTS", "operator": "OPERATORS"}
Forgery = Callable[[str, AdmissionKeys], tuple[dict[str, Any], KeyPair]]  # the user's nkey to claims and who signs them


class StandIn:
    """Answers on `$SYS.REQ.USER.AUTH`; `connect_opts.auth_token` is `<kind> <name>`."""

    def __init__(self, keys: AdmissionKeys) -> None:
        self._keys = keys
        self.forge: Forgery | None = None
        self.asked = 0

    @classmethod
    async def start(cls, nc: Client, keys: AdmissionKeys) -> StandIn:
        """Over a connection of `admission-auth`."""
        stand_in = cls(keys)
        await nc.subscribe("$SYS.REQ.USER.AUTH", cb=stand_in._answer)
        await nc.flush()
        return stand_in

    def honest(self, user_nkey: str, kind: str, name: str) -> tuple[dict[str, Any], KeyPair]:
        """What admission would grant."""
        account = ACCOUNT_OF[kind]
        nats = {"type": "user", "version": 2, "issuer_account": self._keys.accounts[account]}
        return {"sub": user_nkey, "name": name, "nats": nats}, self._keys.scoped[account]

    async def _answer(self, message: Msg) -> None:
        self.asked += 1
        server_xkey = (message.headers or {})["Nats-Server-Xkey"]
        request = natsjwt.decode(self._keys.xkey.open(message.data, server_xkey).decode(), "N")["nats"]
        kind, _, name = request["connect_opts"]["auth_token"].partition(" ")
        user_nkey = request["user_nkey"]
        claims, signer = self.forge(user_nkey, self._keys) if self.forge else self.honest(user_nkey, kind, name)
        answer = {
            "type": "authorization_response",
            "version": 2,
            "issuer_account": self._keys.accounts["AUTH"],
            "jwt": natsjwt.encode(claims, signer),
        }
        sealed = natsjwt.encode({"sub": user_nkey, "aud": request["server_id"]["id"], "nats": answer}, self._keys.auth)
        await message.respond(self._keys.xkey.seal(sealed.encode(), server_xkey))
