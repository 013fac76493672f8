"""How tokens that would be revoked, or that rest on something bad, are shown to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workers.cli.output import clean, table

COLUMNS = ("jti", "txn", "tool", "instance", "path", "exp", "how", "live")


def previewed(found: Mapping[str, Any], tokens: Sequence[Mapping[str, Any]]) -> str:
    """Whom a revocation would hit."""
    head = (
        f"would end {found['tokens']} live tokens in {found['transactions']} transactions, "
        f"of {found['instances']} instances and {found['users']} users; {found.get('connected', 0)} connected"
    )
    return _text(head, found, tokens, ("jti", "txn", "tool", "instance", "path", "exp"))


def tainted(found: Mapping[str, Any], tokens: Sequence[Mapping[str, Any]]) -> str:
    """What rests on something bad."""
    head = (
        f"{found['tokens']} tainted decisions and tokens ({found['descendants']} by descent), in {found['transactions']} transactions, "
        f"of {found['instances']} instances and {found['users']} users; {found['live']} tokens live; "
        f"{found['later']} more came later in the same transactions"
    )
    return _text(head, found, tokens, COLUMNS)


def _text(head: str, found: Mapping[str, Any], tokens: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    lines = [head, *(f"  {name}: {clean(', '.join(found[name]))}" for name in ("agents", "tools") if found[name])]
    if found.get("truncated"):
        lines.append("  there are more than one answer holds: narrow it down")
    shown = [{**token, "path": " > ".join(sub.rpartition("/")[2] for sub in token["path"])} for token in tokens]
    return "\n".join([*lines, *([table(shown, columns)] if shown else [])])
