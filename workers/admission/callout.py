"""The server's authorization request, taken apart and checked, and the answer to it.  NATS ADR-26.

The request is a JWT that the server signed with its own nkey, in a box that it sealed for us; so is the answer, the other way round.
The box proves that the sender holds the key it names, the JWT that the sender is the server it names; that nobody but a server can
reach the subject is the account AUTH's doing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weft.nkey import InvalidKey

from streams import natsjwt
from streams.operator import AdmissionKeys
from workers.admission.decide import Admit, Attempt

SUBJECT = "$SYS.REQ.USER.AUTH"
XKEY_HEADER = "Nats-Server-Xkey"
MAX_REQUEST_BYTES = 65_536
MAX_TEXT_CHARS = 16_384
_AUDIENCE = "nats-authorization-request"
REFUSED = "refused"  # all that the server's log, and nobody else, ever sees of a reason


class NotARequest(Exception):
    """Not a server's authorization request.  There is nobody to answer."""


@dataclass(frozen=True, slots=True)
class CalloutRequest:
    """Who asks, and what the connection shows."""

    server_id: str
    server_xkey: str
    user_nkey: str  # the server's name for this connection
    attempt: Attempt


def open_request(sealed: bytes, server_xkey: str, keys: AdmissionKeys, now: float) -> CalloutRequest:
    """Bytes to a request.  Raises NotARequest.

    1. A box for us by the key in the header.  2. A JWT that a server signed, not expired.  3. For this purpose, about AUTH, by the
    server it names, with the very key that sealed it.  4. The fields.
    """
    if len(sealed) > MAX_REQUEST_BYTES:
        raise NotARequest("too long")
    try:
        claims = natsjwt.decode(keys.xkey.open(sealed, server_xkey).decode(), "N", now=now)  # 1, 2
    except (natsjwt.InvalidBox, natsjwt.InvalidJWT, InvalidKey, UnicodeDecodeError):
        raise NotARequest("not a sealed request of a server") from None
    nats = _object(claims, "nats")
    server = _object(nats, "server_id")
    if (  # 3
        claims.get("aud") != _AUDIENCE
        or nats.get("type") != "authorization_request"
        or nats.get("version") != 2
        or claims["iss"] != server.get("id")
        or server.get("xkey") != server_xkey
        or "exp" not in claims
    ):
        raise NotARequest("not an authorization request of the server that sealed it")
    options, client = _object(nats, "connect_opts"), _object(nats, "client_info")  # 4
    return CalloutRequest(
        server_id=claims["iss"],
        server_xkey=server_xkey,
        user_nkey=_text(nats, "user_nkey"),
        attempt=Attempt(_text(options, "nkey"), _text(client, "nonce"), _text(options, "sig"), _text(options, "auth_token")),
    )


def seal_answer(request: CalloutRequest, keys: AdmissionKeys, user_jwt: str | None, now: float) -> bytes:
    """The answer: this JWT, or a refusal without a reason."""
    outcome = {"error": REFUSED} if user_jwt is None else {"jwt": user_jwt}
    nats = {"type": "authorization_response", "version": 2, "issuer_account": keys.accounts["AUTH"], **outcome}
    answer = natsjwt.encode({"sub": request.user_nkey, "aud": request.server_id, "nats": nats}, keys.auth, now=now)
    return keys.xkey.seal(answer.encode(), request.server_xkey)


def user_jwt(request: CalloutRequest, keys: AdmissionKeys, admit: Admit, now: float) -> str:
    """The connection's JWT.  It holds no permissions: those are the template of the account's scoped key, and of nothing else."""
    nats = {"type": "user", "version": 2, "issuer_account": keys.accounts[admit.account]}
    claims = {"sub": request.user_nkey, "name": admit.name, "exp": admit.expires_at, "nats": nats}
    return natsjwt.encode(claims, keys.scoped[admit.account], now=now)


def _object(claims: dict[str, Any], name: str) -> dict[str, Any]:
    value = claims.get(name)
    if not isinstance(value, dict):
        raise NotARequest(f"{name} is missing")
    return value


def _text(claims: dict[str, Any], name: str) -> str:
    """What a connection did not send is empty; what is no text or too long counts as not sent."""
    value = claims.get(name, "")
    return value if isinstance(value, str) and len(value) <= MAX_TEXT_CHARS else ""
