"""Verifies a Security Event Token.  RFC 8417 section 2.2, SSF 1.0 section 4.1, errors of RFC 8935 section 2.4.

1.  Size.
2.  Form: three parts of canonical base64url, header and payload JSON objects without a member twice.  `invalid_request`
3.  Header: `typ` exactly secevent+jwt, nothing critical.  `invalid_request`
4.  `alg` ES256 or RS256: never `none`, never a MAC.  `invalid_key`
5.  `iss` names an active transmitter of the facts.  `invalid_issuer`
6.  `kid` names a key of that transmitter, of the type the algorithm wants.  `invalid_key`
7.  Signature.  `invalid_key`
8.  `aud` names this fabric as the transmitter's fact says.  `invalid_audience`
9.  Claims: one event, with the members its type requires, a subject we understand, neither `exp` nor `sub`.  `invalid_request`
10. `iat` neither in the future nor too old: a SET has no `exp`, so this bounds for how long one can be replayed.  `invalid_request`

Nothing of a SET is believed before step 7 but which key to try.  Left to others: whether it was received before (the stream), what
it is worth (assess.py), what is done (respond.py).  Deliberately unchecked: `toe` and members we do not know (RFC 8417 section 2).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError
from weft.errors import Malformed
from weft.jws import UnverifiedJWS, parse_jws
from weft.strictjson import parse_object

from schemas.events import Event, read_event
from schemas.facts import Transmitter
from schemas.signals import SET_TYP, SecurityEventToken
from workers.common.jose import JWSRefused, KeyRefused, ParsedJWS, PublicKey, public_key, verify_signature

MAX_SET_BYTES = 16_384
ALGORITHMS = ("ES256", "RS256")
FUTURE_S = 60  # of `iat`: how far clocks may differ
MAX_AGE_S = 3_600  # of `iat`, where anyone may bring it
HELD_BACK_S = 604_800  # where it comes on a stream of ours: a transmitter keeps what a paused or absent receiver did not take

ErrorCode = Literal[  # RFC 8935 section 2.4, and `invalid_state` of SSF 1.0 section 8.1.4.2
    "invalid_request", "invalid_key", "invalid_issuer", "invalid_audience", "authentication_failed", "access_denied", "invalid_state"
]


class SETRefused(Exception):
    """A SET that counts for nothing.  `detail` says which rule, and repeats nothing of it but the issuer once that is known."""

    def __init__(self, err: ErrorCode, detail: str, iss: str | None = None) -> None:
        super().__init__(detail)
        self.err = err
        self.detail = detail
        self.iss = iss


class KeyUnknown(SETRefused):
    """`kid` names no key that is known here; the transmitter may have published one since."""


@dataclass(frozen=True, slots=True)
class VerifiedSET:
    """A SET that its transmitter signed for us, and the transmitter as it was then."""

    claims: SecurityEventToken
    transmitter: Transmitter

    @property
    def event(self) -> str:
        """The URI of its one event."""
        return next(iter(self.claims.events))

    @property
    def payload(self) -> dict[str, Any]:
        """The event's members, as they were said."""
        return self.claims.events[self.event]

    @property
    def happened(self) -> Event:
        """The event, typed.  Raises ValueError where it was not verified to be one of its type."""
        return read_event(self.event, self.payload)


Verify = Callable[[str, float], Awaitable[VerifiedSET]]  # of a SET, as of that time; raises SETRefused


def verify_set(
    unverified: str, transmitter_of: Callable[[str], Transmitter | None], *, now: float, max_age_s: int = MAX_AGE_S
) -> VerifiedSET:
    """All ten steps; raises SETRefused."""
    try:
        jws = parse_jws(unverified, MAX_SET_BYTES)  # 1, 2
        payload = parse_object(jws.payload, "the payload")
    except Malformed as error:
        raise SETRefused("invalid_request", str(error)) from None
    alg, kid = _check_header(jws.header)  # 3, 4
    transmitter = _transmitter(payload.get("iss"), transmitter_of)  # 5
    iss = transmitter.iss
    parsed = ParsedJWS(alg, kid, SET_TYP, payload, jws.signing_input, jws.signature)
    _check_signature(parsed, _key(transmitter, kid), iss)  # 6, 7
    _check_audience(payload.get("aud"), transmitter)  # 8
    claims = _claims(jws, iss)  # 9
    _check_event(claims, iss)
    _check_iat(claims.iat, now, max_age_s, iss)  # 10
    return VerifiedSET(claims, transmitter)


def _check_header(header: dict[str, Any]) -> tuple[str, str]:
    alg, kid = header.get("alg"), header.get("kid")
    if header.get("typ") != SET_TYP or "crit" in header:
        raise SETRefused("invalid_request", f"typ is not {SET_TYP}, or something is critical")
    if alg not in ALGORITHMS:
        raise SETRefused("invalid_key", f"alg is neither {' nor '.join(ALGORITHMS)}")
    if not isinstance(kid, str):
        raise SETRefused("invalid_key", "kid is missing")
    return str(alg), kid


def _transmitter(iss: object, transmitter_of: Callable[[str], Transmitter | None]) -> Transmitter:
    found = transmitter_of(iss) if isinstance(iss, str) else None
    if found is None or found.state != "active":
        raise SETRefused("invalid_issuer", "iss is no transmitter of this fabric")
    return found


def _key(transmitter: Transmitter, kid: str) -> PublicKey:
    keys = transmitter.jwks.get("keys")
    named = [jwk for jwk in keys if isinstance(jwk, dict) and jwk.get("kid") == kid] if isinstance(keys, list) else []
    if len(named) != 1:
        raise KeyUnknown("invalid_key", "kid names no key of the transmitter", transmitter.iss)
    try:
        return public_key(named[0])
    except KeyRefused as error:
        raise SETRefused("invalid_key", f"the transmitter's key is {error}", transmitter.iss) from None


def _check_signature(parsed: ParsedJWS, key: PublicKey, iss: str) -> None:
    try:
        verify_signature(parsed, key)
    except JWSRefused as error:
        raise SETRefused("invalid_key", str(error), iss) from None


def _check_audience(aud: object, transmitter: Transmitter) -> None:
    named = aud if isinstance(aud, list) else [aud]
    if transmitter.aud not in named:
        raise SETRefused("invalid_audience", "this receiver is not in aud", transmitter.iss)


def _claims(jws: UnverifiedJWS, iss: str) -> SecurityEventToken:
    try:
        return SecurityEventToken.model_validate_json(jws.payload)
    except ValidationError as error:
        rules = sorted({".".join(str(part) for part in e["loc"][:2]) for e in error.errors(include_input=False)})
        raise SETRefused("invalid_request", f"claims that do not fit: {', '.join(rules)[:200]}", iss) from None


def _check_event(claims: SecurityEventToken, iss: str) -> None:
    """Which subject formats its type wants is the transmitter's to keep (schemas.events), and nothing we would refuse it for."""
    ((uri, payload),) = claims.events.items()
    try:
        read_event(uri, payload)
    except ValidationError as error:
        rules = sorted({str(e["loc"][0]) for e in error.errors(include_input=False) if e["loc"]})
        raise SETRefused("invalid_request", f"members of the event that do not fit: {', '.join(rules)[:200]}", iss) from None
    except ValueError as error:
        raise SETRefused("invalid_request", str(error), iss) from None


def _check_iat(iat: int, now: float, max_age_s: int, iss: str) -> None:
    if iat > now + FUTURE_S:
        raise SETRefused("invalid_request", f"iat is more than {FUTURE_S} s in the future", iss)
    if now - iat > max_age_s:
        raise SETRefused("invalid_request", f"iat is more than {max_age_s} s ago", iss)
