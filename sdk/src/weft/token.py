"""Verifies a Transaction Token, or an access token for one call of a tool.

draft-ietf-oauth-transaction-tokens-10 section 1.6, RFC 9068 section 4, RFC 8725 section 3; the fabric's design section 5.

1. Form and size: at most 4096 bytes, three parts of canonical base64url, no member twice.
2. Header: exactly `alg` ES256, a `typ` that is asked for and a `kid` that is known.
3. Signature.
4. Issuer and time: `iss`; `exp` not past and `iat` not in the future, both with 5 s of skew; no longer life than any token may have.
5. Audience: one of those given.
6. Shape of the claims.

Left to the guard: whether the token fits the call, the view of revocations, single use.  Refusals are TokenRefused; none quotes the token.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from weft.accesstoken import ACCESS_TYP, parse_access_claims
from weft.claims import TOKEN_TYP, VerifiedToken, parse_claims
from weft.digest import sha256
from weft.errors import GuardReason, Malformed, TokenRefused, UnknownTokenKey
from weft.jws import UnverifiedJWS, es256_verifies, parse_jws
from weft.reading import seconds
from weft.strictjson import parse_object

TYPS = frozenset((TOKEN_TYP, ACCESS_TYP))
TOKEN_ALG = "ES256"
MAX_TTL_S = 300
SKEW_S = 5
MAX_TOKEN_BYTES = 4096
MAX_REMEMBERED = 4096  # tokens, of at most 4 KB each

Keys = Mapping[str, EllipticCurvePublicKey]


def verify_token(
    unverified: str, keys: Keys, *, issuer: str, audiences: Collection[str], now: float, typs: Collection[str] = (TOKEN_TYP,)
) -> VerifiedToken:
    """All six steps; raises TokenRefused.  `typs`: a Transaction Token unless the caller takes access tokens too."""
    _check_size(unverified)
    try:
        jws = parse_jws(unverified, MAX_TOKEN_BYTES)  # 1
        claims = parse_object(jws.payload, "the payload")
    except Malformed as error:
        raise TokenRefused(GuardReason.MALFORMED, str(error)) from None
    kid, typ = _verify_signature(jws, keys, typs)  # 2, 3
    if claims.get("iss") != issuer:  # 4
        raise TokenRefused(GuardReason.SIGNATURE, "another issuer")
    try:
        _check_time(seconds(claims, "iat"), seconds(claims, "exp"), now)
        _check_audience(claims, audiences)  # 5
        parse = parse_access_claims if typ == ACCESS_TYP else parse_claims
        return parse(claims, raw=unverified, digest=sha256(unverified), kid=kid)  # 6
    except Malformed as error:
        raise TokenRefused(GuardReason.MALFORMED, str(error)) from None


class TokenVerifier:
    """`verify_token`, which remembers what it has verified: a token seen before costs its digest and a look at the clock.

    `keys` is read at every call, so a key that is taken out, or stands for another public key, takes its tokens with it.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        issuer: str,
        audiences: Collection[str],
        typs: Collection[str] = (TOKEN_TYP,),
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audiences = frozenset(audiences)
        self._typs = frozenset(typs)
        self._max = max_remembered
        self._seen: dict[str, tuple[VerifiedToken, EllipticCurvePublicKey]] = {}

    def verify(self, unverified: str, now: float) -> VerifiedToken:
        """Raises TokenRefused."""
        _check_size(unverified)
        try:
            digest = sha256(unverified)
        except UnicodeEncodeError:
            raise TokenRefused(GuardReason.MALFORMED, "not ASCII") from None
        seen = self._seen.get(digest)
        if seen is not None and self._keys.get(seen[0].kid) is seen[1]:
            _check_time(seen[0].iat, seen[0].exp, now)
            return seen[0]
        token = verify_token(unverified, self._keys, issuer=self._issuer, audiences=self._audiences, now=now, typs=self._typs)
        self._remember(token)
        return token

    def _remember(self, token: VerifiedToken) -> None:
        while len(self._seen) >= self._max:  # the oldest, most likely expired, costs one signature more, should it return
            del self._seen[next(iter(self._seen))]
        self._seen[token.digest] = (token, self._keys[token.kid])


def _check_size(unverified: str) -> None:
    if len(unverified) > MAX_TOKEN_BYTES:
        raise TokenRefused(GuardReason.TOO_LARGE, f"more than {MAX_TOKEN_BYTES} bytes")


def _verify_signature(jws: UnverifiedJWS, keys: Keys, typs: Collection[str]) -> tuple[str, str]:
    typ = jws.header.get("typ")
    try:
        kid = jws.kid(TOKEN_ALG, typ if isinstance(typ, str) and typ in typs else TOKEN_TYP)
    except Malformed as error:
        raise TokenRefused(GuardReason.SIGNATURE, str(error)) from None
    key = keys.get(kid)
    if key is None:
        raise UnknownTokenKey
    if not es256_verifies(key, jws):
        raise TokenRefused(GuardReason.SIGNATURE, "the signature does not verify")
    return kid, str(typ)


def _check_time(iat: int, exp: int, now: float) -> None:
    if exp - iat > MAX_TTL_S:
        raise TokenRefused(GuardReason.EXPIRED, f"lives longer than {MAX_TTL_S} s")
    if now > exp + SKEW_S:
        raise TokenRefused(GuardReason.EXPIRED, "exp is past")
    if iat > now + SKEW_S:
        raise TokenRefused(GuardReason.NOT_YET, "iat is in the future")


def _check_audience(claims: Mapping[str, Any], audiences: Collection[str]) -> None:
    aud = claims.get("aud")
    if type(aud) is not str or aud not in audiences:
        raise TokenRefused(GuardReason.AUDIENCE, "another audience")
