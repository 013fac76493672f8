"""Token Status List, draft-ietf-oauth-status-list-20 (sections 4, 5.1, 6.1, 8): for verifiers that are not on the bus.

A token says where its status stands (`status.status_list`: an index and a URI); the list there is a signed, compressed bit array.

    statuses = StatusVerifier(fetch, keys, prefix="https://txn-svc.88mph.com/status/")
    await statuses.check(claims)          # after the token itself was verified in full; raises StatusRefused

1. The reference is well formed, and its URI is one of the issuer's own: a token does not choose where we look.
2. The list token: `typ` statuslist+jwt, ES256, a key of the issuer's for status lists, `sub` equal to the URI, `iat` and `exp` with skew.
3. It was fetched within its `ttl`.  Once that is over it is fetched again; where that fails there is no statement, and so a refusal.
4. The index lies within the list, and its value is VALID.  Everything else refuses.

Fail closed: whoever cannot get a list accepts nothing that refers to it.  A revocation is seen at the latest `ttl` seconds, and the one or
two that publication takes, after it was committed; a guard on the bus sees it in milliseconds.
Deviations from section 8.1: redirects are not followed, and gzip is left to the HTTP client.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from weft import reading as read
from weft.digest import b64u, unb64u
from weft.errors import GuardReason, Malformed, Refused
from weft.jws import es256_key, es256_verifies, parse_jws
from weft.strictjson import parse_object

TYP = "statuslist+jwt"
MEDIA_TYPE = "application/statuslist+jwt"
ALG = "ES256"
BITS = (1, 2, 4, 8)
MAX_TOKEN_BYTES = 4_194_304
MAX_LIST_BYTES = 4_194_304  # decompressed: 32 million entries of one bit
MAX_TTL_S = 60  # of a cached list, whatever it says of itself
MAX_LISTS = 64
SKEW_S = 5


class Status(IntEnum):
    """Section 7.1.  Others are for applications, or reserved; here they refuse."""

    VALID = 0x00
    INVALID = 0x01
    SUSPENDED = 0x02


class StatusRefused(Refused):
    """The status is not VALID (`token_revoked`), or nothing can be said of it (`status_unknown`)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`status.status_list` of a token, section 6.1."""

    idx: int
    uri: str


@dataclass(frozen=True, slots=True, repr=False)
class StatusList:
    """Section 4: index 0 stands in the least significant bits of byte 0."""

    bits: int
    raw: bytes

    def __len__(self) -> int:
        return len(self.raw) * 8 // self.bits

    def get(self, idx: int) -> int:
        """The value of one entry; raises IndexError outside the list."""
        if not 0 <= idx < len(self):
            raise IndexError("the index is outside the list")
        first = idx * self.bits
        return self.raw[first // 8] >> first % 8 & (1 << self.bits) - 1

    @classmethod
    def of(cls, statuses: Iterable[tuple[int, int]], size: int, bits: int = 1) -> StatusList:
        """`size` entries, VALID but for those given as (index, value).  Raises ValueError for what does not fit."""
        if bits not in BITS or size <= 0 or size * bits % 8:
            raise ValueError("a list has 1, 2, 4 or 8 bits an entry, and whole bytes")
        raw = bytearray(size * bits // 8)
        for idx, value in statuses:
            if not 0 <= idx < size or not 0 <= value < 1 << bits:
                raise ValueError("an entry outside the list")
            raw[idx * bits // 8] |= value << idx * bits % 8
        return cls(bits, bytes(raw))

    def claim(self) -> dict[str, Any]:
        """The `status_list` claim, section 4.2."""
        return {"bits": self.bits, "lst": b64u(zlib.compress(self.raw, 9))}


def parse_list(claim: Mapping[str, Any]) -> StatusList:
    """The `status_list` claim; raises Malformed.  No more than `MAX_LIST_BYTES` are decompressed, whatever it holds."""
    bits = claim.get("bits")
    if type(bits) is not int or bits not in BITS:
        raise Malformed("bits is 1, 2, 4 or 8")
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(unb64u(read.text(claim, "lst")), MAX_LIST_BYTES)
    except (ValueError, zlib.error):
        raise Malformed("lst is not base64url of a ZLIB stream") from None
    if not inflate.eof or inflate.unused_data:
        raise Malformed("lst is longer than any list, or cut off, or followed by something")
    return StatusList(bits, raw)


def reference_of(claims: Mapping[str, Any]) -> Reference | None:
    """Where a token says that its status stands; none where it says nothing.  Raises Malformed."""
    status = claims.get("status")
    if status is None:
        return None
    if not isinstance(status, Mapping) or not isinstance(status.get("status_list"), Mapping):
        raise Malformed("status without a status_list")
    named = status["status_list"]
    return Reference(read.count(named, "idx"), read.text(named, "uri"))


@dataclass(frozen=True, slots=True)
class StatusListToken:
    """A list token, verified."""

    uri: str
    iat: int
    exp: int | None
    ttl: int | None
    statuses: StatusList


def verify_status_list(unverified: str, keys: Mapping[str, EllipticCurvePublicKey], *, uri: str, now: float) -> StatusListToken:
    """Section 5.1 and step 3 of section 8.3; raises Malformed."""
    jws = parse_jws(unverified, MAX_TOKEN_BYTES)
    key = keys.get(jws.kid(ALG, TYP))
    if key is None or not es256_verifies(key, jws):
        raise Malformed("not signed by a status key of the issuer")
    claims = parse_object(jws.payload, "the payload")
    if claims.get("sub") != uri:
        raise Malformed("the list of another URI")
    iat = read.seconds(claims, "iat")
    exp = read.seconds(claims, "exp") if "exp" in claims else None
    ttl = read.seconds(claims, "ttl") if "ttl" in claims else None
    if iat > now + SKEW_S or (exp is not None and exp + SKEW_S < now) or ttl == 0:
        raise Malformed("the list is not of now")
    return StatusListToken(uri, iat, exp, ttl, parse_list(read.obj(claims, "status_list")))


def keys_of(jwks: Mapping[str, Any]) -> dict[str, EllipticCurvePublicKey]:
    """The issuer's JWKS for status lists (`<prefix>jwks.json`), RFC 7517 section 5, by `kid`; raises Malformed."""
    return {read.text(key, "kid"): es256_key(key) for key in read.objects(jwks, "keys")}


@dataclass(frozen=True, slots=True)
class Fetched:
    """An HTTP answer, as far as it is needed.  Status 304: what was fetched before still stands."""

    status: int
    media_type: str
    body: str
    etag: str | None = None


Fetch = Callable[[str, str | None], Awaitable[Fetched]]
"""GET a URI with `Accept: application/statuslist+jwt`, and `If-None-Match` where an ETag is given.  It sets the deadline, follows no
redirect, and may raise whatever it likes: that is no statement."""


@dataclass(slots=True)
class _Held:
    token: StatusListToken
    etag: str | None
    until: float  # of the monotonic clock


class StatusVerifier:
    """One cache of lists, shared by every check.  `keys` is read at every use."""

    def __init__(
        self, fetch: Fetch, keys: Mapping[str, EllipticCurvePublicKey], *, prefix: str, clock: Callable[[], float] = time.time
    ) -> None:
        """`prefix`: what every URI of the issuer's lists begins with."""
        self._fetch = fetch
        self._keys = keys
        self._prefix = prefix
        self._clock = clock
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}

    async def check(self, claims: Mapping[str, Any], *, required: bool = True) -> None:
        """The claims of a token that was verified in full; raises StatusRefused.  `required`: a token without a status is refused."""
        try:
            reference = reference_of(claims)
        except Malformed as error:
            raise StatusRefused(GuardReason.STATUS_UNKNOWN, str(error)) from None
        if reference is None:
            if required:
                raise StatusRefused(GuardReason.STATUS_UNKNOWN, "the token has no status")
            return
        value = await self.status(reference)
        if value != Status.VALID:
            raise StatusRefused(GuardReason.REVOKED, f"status {value}")

    async def status(self, reference: Reference) -> int:
        """The value that stands now; raises StatusRefused where nothing can be said."""
        if not reference.uri.startswith(self._prefix):
            raise StatusRefused(GuardReason.STATUS_UNKNOWN, "not a list of this issuer")
        lock = self._locks.setdefault(reference.uri, asyncio.Lock())
        try:
            async with lock:  # many checks, one fetch
                held = await self._current(reference.uri)
        finally:
            if not lock.locked() and reference.uri not in self._held:
                self._locks.pop(reference.uri, None)
        try:
            return held.token.statuses.get(reference.idx)
        except IndexError:
            raise StatusRefused(GuardReason.STATUS_UNKNOWN, "the index is outside the list") from None

    async def _current(self, uri: str) -> _Held:
        held = self._held.get(uri)
        if held is not None and time.monotonic() < held.until and self._stands(held.token):
            return held
        try:
            fetched = await self._fetch(uri, held.etag if held is not None else None)
            held = self._read(uri, fetched, held)
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing can be said
            self._held.pop(uri, None)
            raise StatusRefused(GuardReason.STATUS_UNKNOWN, f"no list: {type(error).__name__}") from None
        self._held[uri] = held
        self._held.move_to_end(uri)
        if len(self._held) > MAX_LISTS:
            self._locks.pop(self._held.popitem(last=False)[0], None)
        return held

    def _read(self, uri: str, fetched: Fetched, held: _Held | None) -> _Held:
        if fetched.status == 304 and held is not None and self._stands(held.token):
            return _Held(held.token, held.etag, time.monotonic() + _ttl(held.token))
        if not 200 <= fetched.status < 300 or fetched.media_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
            raise Malformed("not a status list")
        token = verify_status_list(fetched.body, self._keys, uri=uri, now=self._clock())
        return _Held(token, fetched.etag, time.monotonic() + _ttl(token))

    def _stands(self, token: StatusListToken) -> bool:
        return token.exp is None or self._clock() <= token.exp


def _ttl(token: StatusListToken) -> float:
    return min(token.ttl if token.ttl is not None else MAX_TTL_S, MAX_TTL_S)
