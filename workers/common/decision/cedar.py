"""The policies, prepared once per change of them, and asked.  Cedar 4 through cedarpy; https://docs.cedarpolicy.com/.

Everything doubtful is an error, and an error denies: no policy at all, one that cannot be read or parsed, one that fails while it
is evaluated (Cedar itself would skip it: a `forbid` that fails would open).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, ParamSpec, TypeVar

import cedarpy
from weft.digest import canonical, sha256

from schemas.facts import Kind
from streams.facts_table import FactsTable
from workers.common.decision.nesting import too_deep

MAX_HANDLES = 1024
Uid = tuple[str, str]  # type and id
P = ParamSpec("P")
T = TypeVar("T")


class PolicyError(Exception):
    """The policies cannot be asked, or did not answer; the text names policies and never a request."""


class Answer(NamedTuple):
    """What the policies say of one action, and which of them."""

    allowed: bool
    because: tuple[str, ...]


def uid(kind: str, name: str) -> dict[str, str]:
    """An entity reference.  Structured, so that no name is ever read as Cedar's syntax."""
    return {"type": f"Weft::{kind}", "id": name}


def policy_digest(facts: FactsTable) -> str:
    """SHA-256 over every policy's name and text, sorted; unreadable ones stand as names alone."""
    texts: list[list[str | None]] = [[policy.name, policy.cedar] for policy in facts.policies()]
    return sha256(canonical(texts + [[key, None] for key in facts.unreadable(Kind.POLICY)]))


def policies_of(facts: FactsTable) -> Policies:
    """The prepared policies, from the memo until one of them changes."""
    held: Policies | None = facts.memo.get("policies")
    if held is None:
        held = Policies.prepare(facts)
        facts.memo.put("policies", held, (Kind.POLICY.value,))
    return held


@dataclass(slots=True)
class Policies:
    """Parsed policies, found by the principal and resource that their heads name: one about others is never evaluated."""

    digest: str
    error: str | None = None
    _static: list[tuple[str, Any]] = field(default_factory=list)  # id and Cedar's JSON
    _by_head: dict[tuple[Uid | None, Uid | None], list[int]] = field(default_factory=dict)
    _titles: dict[str, str] = field(default_factory=dict)  # id to what a person reads
    _handles: dict[tuple[int, ...], cedarpy.PolicySet] = field(default_factory=dict)

    @classmethod
    def prepare(cls, facts: FactsTable) -> Policies:
        """Every policy of the facts.  Never raises: what is wrong is `error`."""
        policies = cls(policy_digest(facts))
        for policy in facts.policies():
            try:
                policies._add(policy.name, parse(policy.cedar))
            except PolicyError:
                policies.error = f"policy {policy.name} does not parse"
        if facts.unreadable(Kind.POLICY):
            policies.error = "a policy cannot be read"
        elif policies.error is None and not policies._static:
            policies.error = "there is no policy"
        return policies

    def _add(self, name: str, parsed: Mapping[str, Any]) -> None:
        for position, policy in parsed.items():
            unique = f"{name}.{position}"
            self._titles[unique] = f"{name}.{policy.get('annotations', {}).get('id') or position}"
            self._by_head.setdefault((_named(policy["principal"]), _named(policy["resource"])), []).append(len(self._static))
            self._static.append((unique, policy))

    def ask(self, requests: list[dict[str, Any]], entities: cedarpy.Entities) -> tuple[Answer, ...]:
        """One answer per request; all are about one principal and one resource.  Raises PolicyError."""
        if self.error is not None:
            raise PolicyError(self.error)
        handle = self._handle(requests[0]["principal"], requests[0]["resource"])
        return tuple(map(self._answer, asked_of_engine(cedarpy.is_authorized_batch, requests, handle, entities)))

    def _handle(self, principal: Mapping[str, str], resource: Mapping[str, str]) -> cedarpy.PolicySet:
        who, what = (principal["type"], principal["id"]), (resource["type"], resource["id"])
        heads = ((who, what), (who, None), (None, what), (None, None))
        chosen = tuple(sorted(index for head in heads for index in self._by_head.get(head, ())))
        handle = self._handles.get(chosen)
        if handle is None:
            handle = _policy_set(dict(self._static[index] for index in chosen))
            if len(self._handles) >= MAX_HANDLES:
                del self._handles[next(iter(self._handles))]
            self._handles[chosen] = handle
        return handle

    def _answer(self, result: cedarpy.AuthzResult) -> Answer:
        if result.diagnostics.errors or result.decision is cedarpy.Decision.NoDecision:
            raise PolicyError("a policy failed while it was evaluated")
        return Answer(result.allowed, tuple(sorted(self._titles[name] for name in result.diagnostics.reasons)))


def parse(text: str) -> dict[str, Any]:
    """A policy text as Cedar's JSON policies by their position.  Templates are refused: unlinked they would permit nothing."""
    if too_deep(text):
        raise PolicyError("a policy nests deeper, or is longer, than any is read here")
    try:
        parsed = json.loads(asked_of_engine(cedarpy.policies_to_json_str, text))
    except RecursionError:
        raise PolicyError("a policy nests deeper than any is read here") from None
    if parsed["templates"] or parsed["templateLinks"]:
        raise PolicyError("templates are not supported")
    static: dict[str, Any] = parsed["staticPolicies"]
    return static


def entities_of(entities: Iterable[dict[str, Any]]) -> cedarpy.Entities:
    """A prepared handle.  Raises PolicyError."""
    return asked_of_engine(cedarpy.Entities.from_json_str, json.dumps(list(entities)))


def _policy_set(static: dict[str, Any]) -> cedarpy.PolicySet:
    document = {"staticPolicies": static, "templates": {}, "templateLinks": []}
    return asked_of_engine(cedarpy.PolicySet.from_json_str, json.dumps(document))


def _named(scope: Mapping[str, Any]) -> Uid | None:
    """The one entity that a head's `==` names; none for every other head."""
    if scope["op"] != "==" or "entity" not in scope:
        return None
    return scope["entity"]["type"], scope["entity"]["id"]


def asked_of_engine(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Ask Cedar.  Every way to fail is a PolicyError, a panic of the Rust code too: PyO3 raises it past `Exception`."""
    try:
        return call(*args, **kwargs)
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise PolicyError("the policy engine refused") from error
        raise
