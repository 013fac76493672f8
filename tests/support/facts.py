"""Facts for tests: bodies to messages, messages to a table."""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from schemas.envelope import CloudEvent
from schemas.facts import FACT, Fact, FactBody, Kind
from streams.facts_keys import key_of, subject_of
from streams.facts_table import FactsTable

_BODY: TypeAdapter[FactBody] = TypeAdapter(FactBody)


def body(plain: dict[str, Any]) -> FactBody:
    """Plain data, as from YAML, to a fact's body."""
    return _BODY.validate_json(json.dumps(plain))


def message(plain: dict[str, Any], *, deleted: bool = False) -> tuple[str, bytes]:
    """The subject and the bytes of one fact."""
    made = body(plain)
    fact = Fact(kind=made.kind, key=key_of(made), body=None if deleted else made, by="bootstrap")
    event = CloudEvent[Fact](id="1", source="/weft/tests", type=FACT, time="2026-01-01T00:00:00Z", data=fact)
    return subject_of(made.kind, fact.key), event.wire()


def tombstone(kind: Kind, key: str) -> tuple[str, bytes]:
    """The subject and the bytes of a deletion."""
    event = CloudEvent[Fact](
        id="1", source="/weft/tests", type=FACT, time="2026-01-01T00:00:00Z", data=Fact(kind=kind, key=key, by="bootstrap")
    )
    return subject_of(kind, key), event.wire()


def put(table: FactsTable, *plain: dict[str, Any], deleted: bool = False) -> FactsTable:
    """Apply bodies to a table, each as the next event."""
    for one in plain:
        table.apply(table.revision + 1, *message(one, deleted=deleted))
    return table


def table_of(plain: Iterable[dict[str, Any]]) -> FactsTable:
    """A table of these bodies."""
    return put(FactsTable(), *plain)
