"""What an event of RECORD is about: the identifiers that it can be found by, and the namespace whose auditors may see it.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from weft.digest import sha256
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas import record
from streams.subjects import parse_connection_name

Data = Mapping[str, Any]
DECIDED = (record.ISSUED, record.DENIED, record.EXCHANGED, record.NOT_EXCHANGED)
TOKENS = (record.ISSUED, record.EXCHANGED)  # what a token was issued with
MAX_KEPT = 16_384  # of what the events of one workload have in common
MAX_REVISION = 2**62  # far above any sequence, and still an integer of SQLite


_ALSO = {  # what people hold in their hands besides an explanation: the id of a SET, of an approval, of a response that waits
    record.SIGNALLED: ("jti",),
    record.RESPONDED: ("jti", "pending"),
    record.RECEIPTED: ("jti",),
    record.APPROVED: ("id",),
    record.DENIED: ("approval",),
}


class Reference(NamedTuple):
    """`kind` is one of txn, explanation, jti, target, user."""

    kind: str
    value: str


def references(type_: str, data: Data) -> frozenset[Reference]:
    """Every identifier that leads to this event."""
    return frozenset(_references(type_, data))


def _references(type_: str, data: Data) -> Iterator[Reference]:
    claims = data.get("claims") or data
    for kind in ("txn", "jti"):
        if isinstance(claims.get(kind), str):
            yield Reference(kind, claims[kind])
    if isinstance(data.get("explanation"), str):
        yield Reference("explanation", data["explanation"])
    for name in _ALSO.get(type_, ()):
        if isinstance(data.get(name), str):
            yield Reference("explanation", data[name])
    if type_ == record.ISSUED and isinstance(approval := _path(data, "decision", "grant", "approval"), str):
        yield Reference("explanation", approval)
    if type_ == record.REVOKED:
        yield from (Reference("target", target) for target in data.get("targets", ()))
    if "claims" in data:
        yield Reference("user", sha256(str(claims["sub"])))


def scope_of(type_: str, data: Data, trust_domain: str) -> str:
    """The SPIFFE ID that an auditor's role must lie above; the trust domain where an event is nobody's in particular."""
    named = (name for name in _named(type_, data) if isinstance(name, str) and name.startswith("spiffe://"))
    return next(named, f"spiffe://{trust_domain}")


def _named(type_: str, data: Data) -> Iterator[object]:
    """Whose event it may be, the first that is a SPIFFE ID; most events are asked no further than that."""
    yield _path(data, "claims", "act", "sub")
    yield _path(data, "input", "caller", "id")
    yield _path(data, "input", "workload")
    yield data.get("agent")
    if type_ == record.NOT_AUTHENTICATED:
        yield data.get("workload")
    if type_ in (record.ADMITTED, record.NOT_ADMITTED):
        yield data.get("id")
    yield _owner_of(data.get("caller"))
    if type_ == record.CUT:
        yield _owner_of(data.get("name"))


def revision_of(type_: str, data: Data) -> int | None:
    """The facts revision that a decision says it was made at: 0 where it says none that can be, none for what is no decision."""
    if type_ not in DECIDED:
        return None
    revision = _path(data, "decision", "facts_revision")
    return revision if isinstance(revision, int) and 0 <= revision <= MAX_REVISION else 0


def targets_of(claims: Data, kid: str) -> tuple[str, ...]:
    """`<kind>:<value>` of everything a revocation of this token could name."""
    return tuple(f"{kind}:{value}" for kind, value in named_by(claims, kid))


def named_by(claims: Data, kid: str) -> list[tuple[str, str]]:
    """The same, as kind and value."""
    named = [("token", claims["jti"]), ("transaction", claims["txn"]), ("user", claims["sub"]), ("key", kid), *_who(claims)]
    for past in claims.get("act_chain", ()):
        named += [("token", past["jti"]), ("instance", past["instance"]), ("agent", past["sub"])]
    return named + [("token", link["jti"]) for link in claims.get("req_chain", ())]


def _who(claims: Data) -> list[tuple[str, str]]:
    """Whoever acts or acted, and what lies above; of a token without a call, the workload that requested it as well."""
    named, act = _above(claims.get("workload")), claims.get("act")
    while isinstance(act, Mapping):
        named += _above(act.get("sub"))
        named += [(kind, act[name]) for kind, name in (("instance", "instance"), ("token", "jti")) if name in act]
        act = act.get("act")
    return named


def _above(name: object) -> list[tuple[str, str]]:
    """A workload and every namespace above it; nothing for a client that is none."""
    return list(_lineage(name)) if isinstance(name, str) else []


@lru_cache(maxsize=MAX_KEPT)
def _lineage(name: str) -> tuple[tuple[str, str], ...]:
    try:
        prefixes = SpiffeID.parse(name).prefixes()
    except (InvalidSpiffeID, UnicodeEncodeError):
        return ()
    return ("agent", name), *(("namespace", str(prefix)) for prefix in prefixes)


def _path(data: Data, *names: str) -> Any:
    value: Any = data
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None  # as JSON gave it
    return value


def _owner_of(name: object) -> str | None:
    if not isinstance(name, str):
        return None
    try:
        return str(parse_connection_name(name)[1])
    except (InvalidSpiffeID, ValueError):
        return None
