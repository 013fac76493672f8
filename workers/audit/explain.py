"""One transaction, or one refusal, as rows in the order they happened: who asked what, each gate, what was issued, used, revoked.

A row is `seq`, `time`, `what`, and, where they apply, `reason`, `decision`, `claims`, `explanation`, plus the whole `event`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from workers.audit.index import Index, Indexed
from workers.audit.redaction import Visible
from workers.audit.references import TOKENS, targets_of

MANY = 1_000


async def explain(index: Index, identifier: str, visible: Visible, after: int, limit: int) -> list[Indexed]:
    """Events after that sequence: a refusal by its explanation id; anything granted by its transaction, with all that followed."""
    named = [event for event in await index.about("explanation", [identifier]) if visible(event.scope)]
    if named and not any(event.type in TOKENS for event in named):
        return [event for event in named if event.seq > after][:limit]
    txns = {event.data["claims"]["txn"] for event in named if event.type in TOKENS} or {identifier}
    events = {event.seq: event for event in await _revocations(index, txns, visible) if event.seq > after}
    events |= {event.seq: event for event in named if event.seq > after}
    most = limit + len(events)
    async for event in index.all_about("txn", txns, after):
        if visible(event.scope):
            events[event.seq] = event
        if len(events) >= most:
            break
    return [events[seq] for seq in sorted(events)][:limit]


async def _revocations(index: Index, txns: Iterable[str], visible: Visible) -> list[Indexed]:
    """Entries that hit a token of these transactions: a target in common, and a number above the counter it was minted at."""
    minted: dict[str, int] = {}  # target to the lowest counter that something it hits was minted at
    async for event in index.all_about("txn", txns):
        if event.type in TOKENS and visible(event.scope):
            for target in targets_of(event.data["claims"], event.data["kid"]):
                minted[target] = min(minted.get(target, event.data["claims"]["rev"]), event.data["claims"]["rev"])
    found = [revoked for targets in _few(sorted(minted)) async for revoked in index.all_about("target", targets)]
    return [
        revoked for revoked in found if any(revoked.data["n"] > minted.get(target, revoked.data["n"]) for target in revoked.data["targets"])
    ]


def _few(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """What one question of SQLite may name."""
    return (values[start : start + MANY] for start in range(0, len(values), MANY))


def row(event: Indexed, seen: dict[str, Any]) -> dict[str, Any]:
    """As `weft explain` shows it, from what the asker may see of it."""
    data = seen["data"]
    shown = {"seq": event.seq, "time": seen.get("time"), "what": event.type.removeprefix("org.weft.record.").removesuffix(".v1")}
    named = {name: data[name] for name in ("reason", "decision", "claims", "explanation") if data.get(name) is not None}
    return {**shown, **named, "event": seen}
