"""One transaction, or one refusal, as rows in the order they happened: who asked what, each gate, what was issued, used, revoked.

A row is `seq`, `time`, `what`, and, where they apply, `reason`, `decision`, `claims`, `explanation`, plus the whole `event`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from schemas import record
from workers.audit.index import Index, Indexed
from workers.audit.redaction import Visible
from workers.audit.references import targets_of

Shown = Callable[[Indexed], dict[str, Any]]  # the event as the asker may see it


async def explain(index: Index, identifier: str, visible: Visible, shown: Shown) -> list[dict[str, Any]]:
    """A refusal by its explanation id; anything granted by its transaction, with all that followed."""
    named = [event for event in await index.about("explanation", [identifier]) if visible(event.scope)]
    if named and not any(event.type == record.ISSUED for event in named):
        return [row(event, shown(event)) for event in named]
    txns = {event.data["claims"]["txn"] for event in named} or {identifier}
    events = [event for event in await index.about("txn", txns) if visible(event.scope)]
    events += await _revocations(index, [event for event in events if event.type == record.ISSUED])
    return [row(event, shown(event)) for event in sorted(events, key=lambda event: event.seq)]


async def _revocations(index: Index, issued: Iterable[Indexed]) -> list[Indexed]:
    """Entries that hit one of these tokens: a target in common, and a number above the counter it was minted at."""
    hits: dict[int, Indexed] = {}
    for event in issued:
        for revoked in await index.about("target", targets_of(event.data["claims"], event.data["kid"])):
            if revoked.data["n"] > event.data["claims"]["rev"]:
                hits[revoked.seq] = revoked
    return list(hits.values())


def row(event: Indexed, seen: dict[str, Any]) -> dict[str, Any]:
    """As `weft explain` shows it, from what the asker may see of it."""
    data = seen["data"]
    shown = {"seq": event.seq, "time": seen.get("time"), "what": event.type.removeprefix("org.weft.record.").removesuffix(".v1")}
    named = {name: data[name] for name in ("reason", "decision", "claims", "explanation") if data.get(name) is not None}
    return {**shown, **named, "event": seen}
