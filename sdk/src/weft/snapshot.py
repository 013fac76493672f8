"""A signed snapshot of the revocation view, for a guard that starts while very many entries are kept.

The manifest is a compact JWS (EdDSA, the revocation key, `typ` below): the last entry and its hash, the epoch, the stream's sequence,
and the SHA-256 of each chunk.  A chunk is rows of `ROW`: 16 bytes of a target's digest, the number of the highest entry that names it,
when that was, and whether it is a signing key.  schemas/snapshot.py carries both.

What is believed, and why: the key that signs entries and beacons signs this, under a type of its own, so it says no more than that key
may say.  It has to join: the next entry must name its hash, and a beacon of its number must carry it, or the view is poisoned.  What lies
below it cannot be checked against the chain any more, as with a beacon's floor.  An old snapshot is no lie: what it lacks is in the stream.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from weft.digest import b64u, sha256, unb64u
from weft.errors import InvalidRevocation, Malformed, UnknownKey
from weft.jws import eddsa_verifies, parse_jws
from weft.reading import count, text, texts
from weft.strictjson import parse_object

TYP = "weft-snapshot+jwt"
ROW = struct.Struct(">16sQIB")
ROWS_A_CHUNK = 4800  # 139 KB, which base64 and the envelope bring below a message's 256 KiB
MAX_CHUNKS = 400  # 1.9 million targets
MAX_MANIFEST_BYTES = 32_768
KeyOf = Callable[[str], bytes | None]


class Row(NamedTuple):
    """A target that an entry names."""

    target: str
    n: int
    at: int
    is_key: bool


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest, verified."""

    n: int
    head: str
    epoch: int
    seq: int  # of the stream: everything up to there is in it
    posture: int
    chunks: tuple[str, ...]
    id: str  # its own digest


def pack(rows: Sequence[Row]) -> list[bytes]:
    """Rows to chunks; the oldest entry first."""
    ordered = sorted(rows, key=lambda row: (row.at, row.n))
    starts = range(0, len(ordered), ROWS_A_CHUNK)
    return [b"".join(_packed(ordered[start : start + ROWS_A_CHUNK])) for start in starts]


def manifest_claims(chunks: Iterable[bytes], *, n: int, head: str, epoch: int, seq: int, posture: int) -> dict[str, Any]:
    """What the manifest says."""
    digests = [b64u(hashlib.sha256(chunk).digest()) for chunk in chunks]
    return {"n": n, "head": head, "epoch": epoch, "seq": seq, "posture": posture, "chunks": digests}


def read_manifest(unverified: str, key_of: KeyOf) -> Manifest:
    """Raises InvalidRevocation."""
    try:
        jws = parse_jws(unverified, MAX_MANIFEST_BYTES)
        kid = jws.kid("EdDSA", TYP)
        key = key_of(kid)
        if key is None:
            raise UnknownKey("signed by a key that is not known")
        if not eddsa_verifies(key, jws):
            raise InvalidRevocation("the signature does not verify")
        return _manifest(parse_object(jws.payload, "the payload"), sha256(unverified))
    except Malformed as error:
        raise InvalidRevocation(str(error)) from None


def _manifest(claims: Mapping[str, Any], id_: str) -> Manifest:
    chunks = texts(claims, "chunks")
    if len(chunks) > MAX_CHUNKS:
        raise Malformed("too many chunks")
    n, epoch, seq, posture = (count(claims, name) for name in ("n", "epoch", "seq", "posture"))
    return Manifest(n, text(claims, "head"), epoch, seq, posture, chunks, id_)


def read_rows(manifest: Manifest, chunks: Sequence[bytes]) -> list[Row]:
    """The rows, once every chunk is the one that the manifest names; raises InvalidRevocation."""
    if tuple(b64u(hashlib.sha256(chunk).digest()) for chunk in chunks) != manifest.chunks:
        raise InvalidRevocation("a chunk is not the one that was signed")
    rows: list[Row] = []
    for chunk in chunks:
        if len(chunk) % ROW.size:
            raise InvalidRevocation("a chunk is not whole rows")
        rows += [Row(b64u(digest), n, at, bool(flags & 1)) for digest, n, at, flags in ROW.iter_unpack(chunk)]
    if any(row.n > manifest.n for row in rows):
        raise InvalidRevocation("a row of an entry that is not in it")
    return rows


def _packed(rows: Iterable[Row]) -> Iterator[bytes]:
    return (ROW.pack(unb64u(row.target), row.n, row.at, int(row.is_key)) for row in rows)
