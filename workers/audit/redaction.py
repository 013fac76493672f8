"""What an auditor of a namespace is not told about an event of his: who the people are, what they meant, and whom else it concerns.  Pure.

Whoever is auditor of the trust domain sees events whole.  Everybody else sees a person as the digest that revocation entries use, so
that two events about one person can still be told to belong together.  The person's id is taken out of every text of the event, not
of the known members alone: the notes of the gates quote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from weft.digest import target_digest

from schemas import record

Visible = Callable[[str], bool]  # whether the asker may see events of this scope
FREE_TEXT = frozenset({"intent"})
ABOUT_OTHERS = frozenset({"by", "cause"})  # of an entry: the person or transmitter behind it


def redacted(event: Mapping[str, Any], visible: Visible) -> dict[str, Any]:
    """The event as somebody sees it who is no auditor of the trust domain."""
    data = dict(event["data"])
    if event["type"] == record.REVOKED:
        data = {name: value for name, value in data.items() if name not in ABOUT_OTHERS}
        data["targets"] = [_target(target) for target in data.get("targets", ()) if _concerns(target, visible)]
    names = sorted(set(_people(event["data"])), key=len, reverse=True)
    return {**event, "data": _without(data, {name: person_digest(name) for name in names})}


def person_digest(name: str) -> str:
    """A person, to somebody who may not know the name."""
    return f"user:{target_digest('user', name)}"


def _people(value: Any) -> Iterator[str]:
    """Every `sub` in there that is no workload."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name == "sub" and isinstance(inner, str) and inner and not inner.startswith("spiffe://"):
                yield inner
            else:
                yield from _people(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _people(inner)


def _without(value: Any, digests: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _without(inner, digests) for name, inner in value.items() if name not in FREE_TEXT}
    if isinstance(value, list):
        return [_without(inner, digests) for inner in value]
    if isinstance(value, str):
        for name, digest in digests.items():
            value = value.replace(name, digest)
    return value


def _concerns(target: str, visible: Visible) -> bool:
    kind, _, value = target.partition(":")
    return kind not in ("agent", "namespace") or visible(value)


def _target(target: str) -> str:
    kind, _, value = target.partition(":")
    return person_digest(value) if kind == "user" else target
