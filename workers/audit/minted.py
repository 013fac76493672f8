"""A token on record, as the index keeps it to answer "whom would it hit" and "what rests on this".  Pure.

`marks` are digests of everything that the token can be found by, joined by spaces: what a revocation could name to end it (the very
digests of the entries), and besides the tool and version of everyone in its chain, the tools of its evidence, and the key it is bound to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from weft.digest import b64u

from workers.audit.references import MAX_KEPT, TOKENS, named_by
from workers.common.decision.draft import is_workload

ONCE = ("token", "transaction")  # kinds whose values do not come again
ARROW = " > "  # no SPIFFE ID holds it


class Minted(NamedTuple):
    """One token."""

    seq: int
    iat: int
    exp: int
    rev: int
    facts: int
    jti: str
    txn: str
    agent: str
    instance: str
    user: str  # the digest that entries use; empty where no person is behind it
    tool: str
    path: str  # who acted, first to last
    marks: str


def minted_by(seq: int, type_: str, data: Mapping[str, Any], scope: str) -> Minted | None:
    """The token that this event, of this scope, is of; none for every other event, and for one that is no record of its type."""
    if type_ not in TOKENS:
        return None
    try:
        claims, kid = data["claims"], data["kid"]
        act, past, sub = _actor(claims, scope), claims.get("act_chain", ()), str(claims["sub"])
        return Minted(
            seq=seq,
            iat=int(claims["iat"]),
            exp=int(claims["exp"]),
            rev=int(claims["rev"]),
            facts=int(claims["facts"]),
            jti=str(claims["jti"]),
            txn=str(claims["txn"]),
            agent=str(act["sub"]),
            instance=str(act.get("instance", "")),
            user="" if is_workload(sub) or sub == claims.get("client_id") else mark("user", sub),
            tool=str(claims.get("call", {}).get("tool", "")),
            path=ARROW.join([*_before(claims), *(str(p["sub"]) for p in past), str(act["sub"])]),
            marks=" ".join(dict.fromkeys(_marks(claims, str(kid), act))),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _actor(claims: Mapping[str, Any], scope: str) -> Mapping[str, Any]:
    """Who acts; where that is no workload, the one that the token was issued to, else the trust domain."""
    act: Mapping[str, Any] = claims.get("act") or {}
    return act if is_workload(str(act.get("sub"))) else {"sub": claims.get("workload") or scope}


def _before(claims: Mapping[str, Any]) -> Iterator[str]:
    """Who requested the tokens that it rests on, and it, where that is not who acts; then who acted before the first call."""
    yield from (str(link["wl"]) for link in claims.get("req_chain", ()))
    now = claims.get("act") or {}
    if now and claims.get("workload") not in (None, now["sub"]):
        yield str(claims["workload"])
    nested, act = [], now.get("act")
    while act is not None:
        nested.append(str(act["sub"]))
        act = act.get("act")
    yield from reversed(nested)


def mark(kind: str, value: str) -> str:
    """As `weft.digest.target_digest`, and for what no revocation names as well: `tool`, `version` and `jkt`."""
    return b64u(hashlib.sha256(f"{kind}\0{value}".encode()).digest()[:16])


_kept = lru_cache(maxsize=MAX_KEPT)(mark)  # a workload's tokens share most of them


def _marks(claims: Mapping[str, Any], kid: str, act: Mapping[str, Any]) -> Iterator[str]:
    for kind, value in named_by(claims, kid):
        yield mark(kind, value) if kind in ONCE else _kept(kind, value)
    bound = claims.get("cnf") or {}
    yield _kept("version", f"{act['sub']}@{act.get('version')}")
    if "jkt" in bound:
        yield _kept("jkt", str(bound["jkt"]))
    called = [claims["call"]["tool"]] if "call" in claims else []
    tools = [*called, *(p["tool"] for p in claims.get("act_chain", ())), *(e["tool"] for e in claims.get("evidence", ()))]
    yield from (_kept("tool", str(tool)) for tool in tools)
