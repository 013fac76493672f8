"""What a guard knows of the tools it serves and of the keys it believes: the answer to its attach.  The same names as schemas/points.py
and schemas/facts; members that a guard has no use for are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from weft import reading as read
from weft.accesstoken import ACCESS_TYP
from weft.claims import TOKEN_TYP
from weft.digest import BoundPart
from weft.errors import Malformed
from weft.jws import ed25519_key, es256_key
from weft.svid import BundleKey, BundleKeys, bundle_key

Form = Literal["txn", "resource", "access_token", "jwt_svid"]
FORMS = ("txn", "resource", "access_token", "jwt_svid")
BUDGETS_S = (3, 30)  # how old the view may be: for tools that act, and for tools that only read


@dataclass(frozen=True, slots=True)
class EvidenceRule:
    """`tool` must have handled the same object before, in this transaction, with a positive outcome."""

    tool: str
    fields: tuple[str, ...]
    max_age_s: int


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool's record, as far as its guard enforces it."""

    name: str
    workload: str
    endpoint: str
    resource: str
    actions: frozenset[str]
    bind: frozenset[BoundPart]
    form: Form
    audience: str  # the trust domain, or the resource where the record asks for tokens of that form
    single_use: bool
    proof: Literal["dpop"] | None
    evidence: tuple[EvidenceRule, ...]
    object_fields: dict[str, str]
    chain: tuple[str, ...]
    staleness_s: int
    record: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)  # as it came, for who needs more of it


@dataclass(frozen=True, slots=True)
class Attachment:
    """One answer to an attach."""

    tools: dict[str, Tool]
    token_keys: dict[str, EllipticCurvePublicKey]
    revocation_keys: dict[str, bytes]
    issuer: str
    audiences: frozenset[str]
    svid_keys: BundleKeys

    @property
    def typs(self) -> frozenset[str]:
        """The `typ` of every token that one of the tools takes."""
        return frozenset(typ_of(tool.form) for tool in self.tools.values())


def typ_of(form: Form) -> str:
    """The `typ` of the token that a tool of that form takes."""
    return ACCESS_TYP if form == "access_token" else TOKEN_TYP


def parse_attachment(data: Mapping[str, Any]) -> Attachment:
    """Plain data of `Attached`; raises Malformed.  A key that is compromised, or of another purpose, is left out."""
    trust_domain = read.text(data, "trust_domain")
    tools = {tool.name: tool for tool in (_tool(item, trust_domain) for item in read.objects(data, "tools"))}
    keys = [key for key in read.objects(data, "keys") if key.get("state", "active") != "compromised"]
    return Attachment(
        tools=tools,
        token_keys={read.text(key, "kid"): es256_key(read.obj(key, "jwk")) for key in keys if key.get("purpose") == "tokens"},
        revocation_keys={read.text(key, "kid"): ed25519_key(read.obj(key, "jwk")) for key in keys if key.get("purpose") == "revocation"},
        issuer=read.text(data, "issuer"),
        audiences=frozenset(tool.audience for tool in tools.values()),
        svid_keys={(read.text(key, "trust_domain"), read.text(key, "kid")): known for key, known in _bundle(keys)},
    )


def _bundle(keys: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], BundleKey]]:
    for key in keys:
        known = bundle_key(read.obj(key, "jwk")) if key.get("purpose") == "svid" else None
        if known is not None:
            yield key, known


def _tool(record: Mapping[str, Any], trust_domain: str) -> Tool:
    resource, form, staleness_s = read.text(record, "resource"), record.get("token_form", "txn"), record.get("staleness_s", BUDGETS_S[0])
    bind = read.texts(record, "bind") if "bind" in record else ("method", "path", "body")
    fields = read.obj(record, "object_fields") if "object_fields" in record else {}
    proof = record.get("proof")
    if (
        form not in FORMS
        or record.get("revocation", "guard") != "guard"
        or proof not in (None, "dpop")
        or staleness_s not in BUDGETS_S
        or not read.BOUND_PARTS.issuperset(bind)
    ):
        raise Malformed("a tool's record holds what this guard cannot enforce")
    return Tool(
        name=read.text(record, "name"),
        workload=read.text(record, "workload"),
        endpoint=read.text(record, "endpoint") if "endpoint" in record else resource,
        resource=resource,
        actions=frozenset(read.texts(record, "actions")),
        bind=cast("frozenset[BoundPart]", frozenset(bind)),
        form=form,
        audience=trust_domain if form in ("txn", "jwt_svid") else resource,
        single_use=read.flag(record, "single_use"),
        proof=proof,
        evidence=tuple(_rule(item) for item in read.objects(record, "evidence")),
        object_fields={name: read.pointer(fields, name) for name in fields},
        chain=read.texts(record, "chain") if "chain" in record else (),
        staleness_s=staleness_s,
        record=record,
    )


def _rule(record: Mapping[str, Any]) -> EvidenceRule:
    return EvidenceRule(
        read.text(record, "tool"), read.texts(record, "fields"), read.count(record, "max_age_s") if "max_age_s" in record else 300
    )
