"""What the look-ups of facts read out of a name, kept because every call asks again.  What is no name has none of it."""

from __future__ import annotations

from functools import lru_cache

from weft.digest import TargetKind, target_digest
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from streams.subjects import parse_connection_name


@lru_cache(maxsize=65_536)
def subject_of(spiffe_id: str) -> str | None:
    """The subject of a SPIFFE ID, which is an agent's key."""
    try:
        return SpiffeID.parse(spiffe_id).subject
    except InvalidSpiffeID:
        return None


@lru_cache(maxsize=65_536)
def prefixes_of(spiffe_id: str) -> tuple[tuple[str, str], ...]:
    """The prefixes of a SPIFFE ID, the widest first, each with its subject."""
    try:
        return tuple((str(prefix), prefix.subject) for prefix in SpiffeID.parse(spiffe_id).prefixes())
    except InvalidSpiffeID:
        return ()


@lru_cache(maxsize=65_536)
def workload_of(point: str) -> str | None:
    """The SPIFFE ID that a point's name begins with."""
    try:
        return str(parse_connection_name(point)[1])
    except InvalidSpiffeID:
        return None


@lru_cache(maxsize=65_536)
def digest_of(kind: TargetKind, value: str) -> str:
    """As `weft.digest.target_digest`."""
    return target_digest(kind, value)
