"""The claims of a Transaction Token as types.  draft-ietf-oauth-transaction-tokens-10 section 1; the same names as schemas/token.py.

Every claim the contract names is checked for its shape here; claims it does not name are ignored, as the draft asks.  Deliberately
free in form: `rctx`, `agentic_ctx` and the members of `authorization_details`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, cast

from weft import reading as read
from weft.digest import BoundPart, target_digest
from weft.errors import Malformed
from weft.spiffeid import SpiffeID

MAX_HOPS = 8
TOKEN_TYP = "txntoken+jwt"


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
    authorization_details: tuple[dict[str, Any], ...] | None = None  # RFC 9396


@dataclass(frozen=True, slots=True)
class Actor:
    """`act`: who acts now.  RFC 8693 section 4.1."""

    sub: str
    instance: str
    version: str | None
    deployment: str | None
    act: dict[str, Any] | None = None  # who acted before the first call of the transaction, nested; since then, `act_chain`


@dataclass(frozen=True, slots=True)
class PastActor:
    """A member of `act_chain`: who acted before, and under which token."""

    sub: str
    instance: str
    jti: str
    tool: str
    iat: int


@dataclass(frozen=True, slots=True)
class Requested:
    """A member of `req_chain`: who requested, at the token endpoint, a token that this one replaces or rests on."""

    wl: str
    jti: str
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
    req_chain: tuple[Requested, ...]
    agentic_ctx: dict[str, Any]
    evidence: tuple[Evidence, ...]
    jkt: str  # `cnf.jkt`; empty where an access token is nobody's in particular
    rev: int
    facts: int
    raw: str = field(repr=False)
    digest: str
    kid: str
    typ: str = TOKEN_TYP
    status: dict[str, Any] | None = None  # where a status list says how it stands: weft.statuslist

    def __repr__(self) -> str:
        return f"VerifiedToken(txn={self.txn!r}, jti={self.jti!r})"

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Digests of everything whose revocation ends this token: itself, what it descends from, who acts and acted, for whom, the key."""
        past = [(p.sub, p.instance, p.jti) for p in self.act_chain]
        own = targets_of(jti=self.jti, txn=self.txn, user=self.sub, kid=self.kid, act=(self.act.sub, self.act.instance), past=past)
        return (*own, *(target_digest("token", link.jti) for link in self.req_chain), *nested_targets(self.act.act))


def nested_targets(act: read.Members | None) -> Iterator[str]:
    """The digests of everyone in a nested `act` (RFC 8693 section 4.1): a workload, its instance, the token it acted under."""
    while act is not None:
        if read.is_spiffe_id(act["sub"]):
            yield from _agent_targets(act["sub"])
        for kind in ("instance", "token"):
            value = act.get("jti" if kind == "token" else kind)
            if value is not None:
                yield target_digest(kind, value)
        act = act.get("act")


def parse_nested(claims: read.Members) -> dict[str, Any] | None:
    """`act` of an actor, as it stands; raises Malformed."""
    if claims.get("act") is None:
        return None
    outermost = inner = read.obj(claims, "act")
    for _ in range(2 * MAX_HOPS):  # who acted in its calls, and who acted before
        read.text(inner, "sub")
        for name in ("instance", "jti"):
            if inner.get(name) is not None:
                read.text(inner, name)
        if inner.get("act") is None:
            return outermost
        inner = read.obj(inner, "act")
    raise Malformed("act is nested too deep")


def targets_of(
    *, jti: str, txn: str, user: str, kid: str, act: tuple[str, str], past: Iterable[tuple[str, str, str]] = ()
) -> tuple[str, ...]:
    """The digests that a revocation could name to end a token.  `act` is SPIFFE ID and instance; `past` the same, and the jti."""
    chain = tuple(past)
    own = (target_digest("token", jti), target_digest("transaction", txn), target_digest("instance", act[1]))
    whom = (_memoised("user", user), _memoised("key", kid))
    tokens = [t for _, instance, parent in chain for t in (target_digest("token", parent), target_digest("instance", instance))]
    agents = [t for sub in {act[0], *(sub for sub, _, _ in chain)} for t in _agent_targets(sub)]
    return (*own, *whom, *tokens, *agents)


@lru_cache(maxsize=4096)
def _memoised(kind: Literal["user", "key"], value: str) -> str:
    return target_digest(kind, value)


@lru_cache(maxsize=4096)
def _agent_targets(sub: str) -> tuple[str, ...]:
    return (target_digest("agent", sub), *(target_digest("namespace", str(p)) for p in SpiffeID.parse(sub).prefixes()))


def parse_claims(claims: read.Members, *, raw: str, digest: str, kid: str) -> VerifiedToken:
    """The payload's shape; raises Malformed.  The caller has verified everything else."""
    return VerifiedToken(
        iss=read.text(claims, "iss"),
        aud=read.text(claims, "aud"),
        iat=read.seconds(claims, "iat"),
        exp=read.seconds(claims, "exp"),
        jti=read.text(claims, "jti"),
        txn=read.text(claims, "txn"),
        sub=read.text(claims, "sub"),
        scope=read.text(claims, "scope"),
        purp=read.text(claims, "purp"),
        req_wl=read.text(claims, "req_wl"),
        rctx=read.obj(claims, "rctx"),
        tctx=_ceiling(read.obj(claims, "tctx")),
        call=parse_call(read.obj(claims, "call")),
        act=_actor(read.obj(claims, "act")),
        act_chain=_chain(claims),
        req_chain=parse_requests(claims),
        agentic_ctx=read.obj(claims, "agentic_ctx"),
        evidence=tuple(parse_evidence(item) for item in read.objects(claims, "evidence")),
        jkt=read.digest(read.obj(claims, "cnf"), "jkt"),
        rev=read.count(claims, "rev"),
        facts=read.count(claims, "facts"),
        status=read.obj(claims, "status") if "status" in claims else None,
        raw=raw,
        digest=digest,
        kid=kid,
    )


def _ceiling(claims: read.Members) -> Ceiling:
    return Ceiling(
        purposes=read.texts(claims, "purposes"),
        tools=read.texts(claims, "tools"),
        actions=read.texts(claims, "actions"),
        authorization_details=read.objects(claims, "authorization_details"),
        depth=read.count(claims, "depth"),
    )


def parse_call(claims: read.Members, beside: read.Members | None = None) -> Call:
    """`call`, with the authorization details that stand in it or `beside` it; raises Malformed."""
    rich = claims if beside is None else beside
    bound = read.texts(claims, "bound") if "bound" in claims else ()
    digest = read.digest(claims, "digest") if claims.get("digest") is not None else None
    if not read.BOUND_PARTS.issuperset(bound) or bool(bound) != (digest is not None):
        raise Malformed("call.bound and call.digest do not belong together")
    return Call(
        tool=read.text(claims, "tool"),
        workload=read.spiffe_id(claims, "workload"),
        resource=read.text(claims, "resource"),
        actions=read.texts(claims, "actions"),
        bound=cast("tuple[BoundPart, ...]", bound),
        digest=digest,
        single_use=read.flag(claims, "single_use"),
        authorization_details=read.objects(rich, "authorization_details") or None,
    )


def _actor(claims: read.Members) -> Actor:
    version, deployment = (read.text(claims, name) if claims.get(name) is not None else None for name in ("version", "deployment"))
    return Actor(read.spiffe_id(claims, "sub"), read.instance(claims), version, deployment, parse_nested(claims))


def _chain(claims: read.Members) -> tuple[PastActor, ...]:
    chain = read.objects(claims, "act_chain")
    if len(chain) > MAX_HOPS:
        raise Malformed("act_chain is too long")
    return tuple(
        PastActor(read.spiffe_id(p, "sub"), read.instance(p), read.text(p, "jti"), read.text(p, "tool"), read.seconds(p, "iat"))
        for p in chain
    )


def parse_requests(claims: read.Members) -> tuple[Requested, ...]:
    """`req_chain`; raises Malformed."""
    chain = read.objects(claims, "req_chain")
    if len(chain) > MAX_HOPS:
        raise Malformed("req_chain is too long")
    return tuple(Requested(read.text(link, "wl"), read.text(link, "jti"), read.seconds(link, "iat")) for link in chain)


def parse_evidence(claims: read.Members) -> Evidence:
    """A member of `evidence`; raises Malformed."""
    return Evidence(read.text(claims, "tool"), read.count(claims, "seq"), read.digest(claims, "object"), read.seconds(claims, "at"))
