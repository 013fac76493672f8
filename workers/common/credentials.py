"""What JWT-SVIDs and users' access tokens have in common: the refusal, the signature step and the times.  RFC 7519 section 4.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.reasons import DenyReason
from workers.common.jose import JWSRefused, ParsedJWS, PublicKey, parse_jws, verify_signature

SKEW_S = 5  # for `nbf` and `iat`; `exp` gets none, since a connection ends at that second
MAX_TIME = 4_102_444_800


class IdentityRefused(Exception):
    """The credential is not what it has to be.  `detail` names the rule; neither repeats the input."""

    def __init__(self, reason: DenyReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def parsed(unverified: str, max_bytes: int, reason: DenyReason) -> ParsedJWS:
    """As `parse_jws`; raises IdentityRefused."""
    try:
        return parse_jws(unverified, max_bytes=max_bytes)
    except JWSRefused as error:
        raise IdentityRefused(reason, str(error)) from None


def signed_claims(jws: ParsedJWS, key: PublicKey, reason: DenyReason) -> dict[str, Any]:
    """The payload, now that this key is known to have signed it; raises IdentityRefused."""
    try:
        verify_signature(jws, key)
    except JWSRefused as error:
        raise IdentityRefused(reason, str(error)) from None
    return jws.unverified_payload


def check_times(claims: Mapping[str, Any], now: float, *, invalid: DenyReason, expired: DenyReason) -> None:
    """`exp` is there and lies ahead, `nbf` and `iat` do not; raises IdentityRefused."""
    exp, nbf, iat = (_time(claims, name, invalid) for name in ("exp", "nbf", "iat"))
    if exp is None:
        raise IdentityRefused(invalid, "exp is missing")
    if now >= exp:
        raise IdentityRefused(expired, "exp has passed")
    if any(at is not None and at > now + SKEW_S for at in (nbf, iat)):
        raise IdentityRefused(invalid, "nbf or iat is in the future")


def audiences(aud: Any) -> list[str]:
    """RFC 7519 section 4.1.3: one string or an array of them; anything else is no audience at all."""
    values = [aud] if isinstance(aud, str) else aud
    return values if isinstance(values, list) and all(isinstance(value, str) for value in values) else []


def _time(claims: Mapping[str, Any], name: str, invalid: DenyReason) -> int | None:
    value = claims.get(name)
    if name in claims and (type(value) is not int or not 0 <= value <= MAX_TIME):  # `type`, since True is an int
        raise IdentityRefused(invalid, f"{name} is not a time")
    return value
