"""The claims of a Transaction Token as types.  draft-ietf-oauth-transaction-tokens-10 section 1; the same names as schemas/token.py.

Every claim the contract names is checked for its shape here; claims it does not name are ignored, as the draft asks.  Deliberately
free in form: `rctx`, `agentic_ctx` and the members of `authorization_details`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, cast

from weft.digest import BoundPart, target_digest
from weft.errors import Malformed
from weft.spiffeid import InvalidSpiffeID, SpiffeID

MAX_HOPS = 8
MAX_SECONDS = 4_102_444_800
_INSTANCE = re.compile(r"[ik][a-z2-7]{26}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_BOUND = frozenset(("method", "path", "body"))
Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ceiling:
    """`tctx`: what may follow in this transaction, fixed at its root."""

    purposes: tuple[str, ...]
    tools: tuple[str, ...]
    actions: tuple[str, ...]
    authorization_details: tuple[dict[str, Any], ...]
    depth: int


@dataclass(frozen=True, slots=True)
class Call:
    """`call`: what this token may do, once, here."""

    tool: str
    workload: str
    resource: str
    actions: tuple[str, ...]
    bound: tuple[BoundPart, ...]
    digest: str | None
    single_use: bool


@dataclass(frozen=True, slots=True)
class Actor:
    """`act`: who acts now.  RFC 8693 section 4.1."""

    sub: str
    instance: str
    version: str | None
    deployment: str | None


@dataclass(frozen=True, slots=True)
class PastActor:
    """A member of `act_chain`: who acted before, and under which token."""

    sub: str
    instance: str
    jti: str
    tool: str
    iat: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """A step that the guard of `tool` reported for this transaction."""

    tool: str
    seq: int
    object: str
    at: int


@dataclass(frozen=True, eq=False)
class VerifiedToken:
    """A token whose form, signature, times and audience were verified.  Whether it fits a call is the guard's question."""

    iss: str
    aud: str
    iat: int
    exp: int
    jti: str
    txn: str
    sub: str
    scope: str
    purp: str
    req_wl: str
    rctx: dict[str, Any]
    tctx: Ceiling
    call: Call
    act: Actor
    act_chain: tuple[PastActor, ...]
    agentic_ctx: dict[str, Any]
    evidence: tuple[Evidence, ...]
    jkt: str  # `cnf.jkt`
    rev: int
    facts: int
    raw: str
    digest: str
    kid: str

    def __repr__(self) -> str:
        return f"VerifiedToken(txn={self.txn!r}, jti={self.jti!r})"

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Digests of everything whose revocation ends this token: itself, what it descends from, who acts and acted, for whom, the key."""
        own = (target_digest("token", self.jti), target_digest("transaction", self.txn), target_digest("instance", self.act.instance))
        whom = (_memoised("user", self.sub), _memoised("key", self.kid))
        past = [t for p in self.act_chain for t in (target_digest("token", p.jti), target_digest("instance", p.instance))]
        agents = [t for sub in {self.act.sub, *(p.sub for p in self.act_chain)} for t in _agent_targets(sub)]
        return (*own, *whom, *past, *agents)


@lru_cache(maxsize=4096)
def _memoised(kind: Literal["user", "key"], value: str) -> str:
    return target_digest(kind, value)


@lru_cache(maxsize=4096)
def _agent_targets(sub: str) -> tuple[str, ...]:
    return (target_digest("agent", sub), *(target_digest("namespace", str(p)) for p in SpiffeID.parse(sub).prefixes()))


@lru_cache(maxsize=4096)
def _is_spiffe_id(text: str) -> bool:
    try:
        SpiffeID.parse(text)
    except InvalidSpiffeID:
        return False
    return True


def parse_claims(claims: Claims, *, raw: str, digest: str, kid: str) -> VerifiedToken:
    """The payload's shape; raises Malformed.  The caller has verified everything else."""
    return VerifiedToken(
        iss=text(claims, "iss"),
        aud=text(claims, "aud"),
        iat=seconds(claims, "iat"),
        exp=seconds(claims, "exp"),
        jti=text(claims, "jti"),
        txn=text(claims, "txn"),
        sub=text(claims, "sub"),
        scope=text(claims, "scope"),
        purp=text(claims, "purp"),
        req_wl=text(claims, "req_wl"),
        rctx=_object(claims, "rctx"),
        tctx=_ceiling(_object(claims, "tctx")),
        call=_call(_object(claims, "call")),
        act=_actor(_object(claims, "act")),
        act_chain=_chain(claims),
        agentic_ctx=_object(claims, "agentic_ctx"),
        evidence=tuple(_evidence(item) for item in _objects(claims, "evidence")),
        jkt=_digest(_object(claims, "cnf"), "jkt"),
        rev=_count(claims, "rev"),
        facts=_count(claims, "facts"),
        raw=raw,
        digest=digest,
        kid=kid,
    )


def _ceiling(claims: Claims) -> Ceiling:
    return Ceiling(
        purposes=_texts(claims, "purposes"),
        tools=_texts(claims, "tools"),
        actions=_texts(claims, "actions"),
        authorization_details=_objects(claims, "authorization_details"),
        depth=_count(claims, "depth"),
    )


def _call(claims: Claims) -> Call:
    bound = _texts(claims, "bound") if "bound" in claims else ()
    digest = _digest(claims, "digest") if claims.get("digest") is not None else None
    single_use = claims.get("single_use", False)
    if not _BOUND.issuperset(bound) or bool(bound) != (digest is not None):
        raise Malformed("call.bound and call.digest do not belong together")
    if type(single_use) is not bool:
        raise Malformed("call.single_use is not a boolean")
    return Call(
        tool=text(claims, "tool"),
        workload=_spiffe_id(claims, "workload"),
        resource=text(claims, "resource"),
        actions=_texts(claims, "actions"),
        bound=cast("tuple[BoundPart, ...]", bound),
        digest=digest,
        single_use=single_use,
    )


def _actor(claims: Claims) -> Actor:
    version, deployment = (text(claims, name) if claims.get(name) is not None else None for name in ("version", "deployment"))
    return Actor(_spiffe_id(claims, "sub"), _instance(claims), version, deployment)


def _chain(claims: Claims) -> tuple[PastActor, ...]:
    chain = _objects(claims, "act_chain")
    if len(chain) > MAX_HOPS:
        raise Malformed("act_chain is too long")
    return tuple(PastActor(_spiffe_id(p, "sub"), _instance(p), text(p, "jti"), text(p, "tool"), seconds(p, "iat")) for p in chain)


def _evidence(claims: Claims) -> Evidence:
    return Evidence(text(claims, "tool"), _count(claims, "seq"), _digest(claims, "object"), seconds(claims, "at"))


def text(claims: Claims, name: str) -> str:
    """A non-empty string that is Unicode; raises Malformed."""
    value = claims.get(name)
    if type(value) is not str or not value:
        raise Malformed(f"{name} is not a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone surrogate, which JSON can spell and UTF-8 cannot
            raise Malformed(f"{name} is not Unicode") from None
    return value


def seconds(claims: Claims, name: str) -> int:
    """A NumericDate, whole; raises Malformed."""
    value = _count(claims, name)
    if value > MAX_SECONDS:
        raise Malformed(f"{name} is no time")
    return value


def _count(claims: Claims, name: str) -> int:
    value = claims.get(name)
    if type(value) is not int or value < 0:
        raise Malformed(f"{name} is not a whole number")
    return value


def _texts(claims: Claims, name: str) -> tuple[str, ...]:
    value = claims.get(name)
    if type(value) is not list or not all(type(item) is str for item in value):
        raise Malformed(f"{name} is not a list of strings")
    return tuple(value)


def _object(claims: Claims, name: str) -> dict[str, Any]:
    value = claims.get(name)
    if type(value) is not dict:
        raise Malformed(f"{name} is not an object")
    return value


def _objects(claims: Claims, name: str) -> tuple[dict[str, Any], ...]:
    value = claims.get(name, [])
    if type(value) is not list or not all(type(item) is dict for item in value):
        raise Malformed(f"{name} is not a list of objects")
    return tuple(value)


def _digest(claims: Claims, name: str) -> str:
    value = claims.get(name)
    if type(value) is not str or not _DIGEST.fullmatch(value):
        raise Malformed(f"{name} is not a digest")
    return value


def is_instance(value: object) -> bool:
    """Whether it is an instance id: `i` for attested by the issuer, `k` for made of the connection's key, and 26 base32 characters."""
    return type(value) is str and _INSTANCE.fullmatch(value) is not None


def _instance(claims: Claims) -> str:
    value = text(claims, "instance")
    if not is_instance(value):
        raise Malformed("instance is not an instance id")
    return value


def _spiffe_id(claims: Claims, name: str) -> str:
    value = text(claims, name)
    if not _is_spiffe_id(value):
        raise Malformed(f"{name} is not a SPIFFE ID")
    return value
