"""Patterns of bounds, charters and ceilings: an exact code, a prefix ending in `*`, or `*`.

A `*` anywhere else makes a pattern that matches nothing, and a code that holds a `*` is matched by nothing: who asks for
everything asks for nothing.
"""

from __future__ import annotations

from functools import lru_cache, reduce

Patterns = tuple[str, ...]


@lru_cache(maxsize=65_536)
def matches(patterns: Patterns, code: str) -> bool:
    """One of the patterns allows the code."""
    return "*" not in code and any(code == p or (p[-1:] == "*" and "*" not in p[:-1] and code.startswith(p[:-1])) for p in patterns)


def covers(patterns: Patterns, pattern: str) -> bool:
    """One of the patterns allows everything that `pattern` does."""
    return any(_narrower(p, pattern) == pattern for p in patterns)


@lru_cache(maxsize=4096)
def intersect(*sets: Patterns) -> Patterns:
    """What all of the sets allow, as patterns, sorted, none within another."""
    return reduce(_intersect, sets, ("*",))


def _intersect(a: Patterns, b: Patterns) -> Patterns:
    met = {m for p in a for q in b if (m := _narrower(p, q)) is not None}
    return tuple(sorted(m for m in met if not any(o != m and _narrower(o, m) == m for o in met)))


def _narrower(a: str, b: str) -> str | None:
    """The patterns' meet: two prefixes nest or are apart, so it is one of the two or nothing."""
    if "*" in a[:-1] or "*" in b[:-1] or not a or not b:
        return None
    if a[-1] == "*" and b.startswith(a[:-1]):
        return b
    if b[-1] == "*" and a.startswith(b[:-1]):
        return a
    return a if a == b else None
