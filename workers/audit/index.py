"""The index: RECORD in SQLite, by sequence and by what each event is about.  A cache: deleting the file costs a replay, no more.

The events of a batch and the checkpoint that covers them are one transaction, and an event that is there already is left alone, so a
crash, a repeated delivery or a second copy on the same file changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiosqlite
import orjson

from schemas.record import is_own
from workers.audit.minted import Minted, minted_by
from workers.audit.references import MAX_REVISION, Reference, references, revision_of, scope_of

SCHEMA_VERSION = 6
FOREIGN = "foreign"  # what is another worker's to say, or no record at all: nothing leads to it, and `weft record verify` names it
UNREADABLE = b'{"type":"org.weft.record.unreadable.v1","time":"","data":{}}'  # instead of what is no event
SCHEMA = """
CREATE TABLE IF NOT EXISTS event
  (seq INTEGER PRIMARY KEY, type TEXT NOT NULL, scope TEXT NOT NULL, subject TEXT NOT NULL, body BLOB NOT NULL, revision INTEGER);
CREATE INDEX IF NOT EXISTS event_type ON event (type, seq);
CREATE INDEX IF NOT EXISTS event_decided ON event (revision, seq) WHERE revision IS NOT NULL;
CREATE TABLE IF NOT EXISTS reference (kind TEXT, value TEXT, seq INTEGER, PRIMARY KEY (kind, value, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS minted
  (seq INTEGER PRIMARY KEY, iat INTEGER, exp INTEGER, rev INTEGER, facts INTEGER, jti TEXT, txn TEXT, agent TEXT, instance TEXT,
   user TEXT, tool TEXT, path TEXT, marks TEXT);
CREATE INDEX IF NOT EXISTS minted_exp ON minted (exp);
CREATE INDEX IF NOT EXISTS minted_iat ON minted (iat);
CREATE INDEX IF NOT EXISTS minted_txn ON minted (txn);
CREATE TABLE IF NOT EXISTS checkpoint (only INTEGER PRIMARY KEY CHECK (only = 0), seq INTEGER NOT NULL);
INSERT OR IGNORE INTO checkpoint VALUES (0, 0);
"""
ADD_MINTED = f"INSERT OR IGNORE INTO minted VALUES ({','.join('?' * len(Minted._fields))})"  # noqa: S608 - marks alone
PAGE = 500


class Arrived(NamedTuple):
    """A message of RECORD."""

    seq: int
    subject: str
    body: bytes


class About(NamedTuple):
    """What is indexed of a message."""

    type: str
    scope: str
    body: bytes
    revision: int | None
    references: frozenset[Reference] = frozenset()
    minted: Minted | None = None


class Indexed(NamedTuple):
    """An event as the index holds it."""

    seq: int
    type: str
    scope: str
    subject: str
    event: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        """The event's data."""
        data: dict[str, Any] = self.event["data"]
        return data


class Decided(NamedTuple):
    """A decision, and the facts revision that it names."""

    revision: int
    event: Indexed


class Index:
    """One connection; `open` makes or migrates the file."""

    def __init__(self, db: aiosqlite.Connection, trust_domain: str) -> None:
        self._db = db
        self._trust_domain = trust_domain

    @classmethod
    async def open(cls, path: Path, trust_domain: str) -> Self:
        """An index of another version is thrown away: it will be rebuilt."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        db = await aiosqlite.connect(path)
        await db.execute("PRAGMA page_size = 16384")  # of a new file: an event lies on one page
        await db.execute("PRAGMA cache_size = -32768")  # KiB
        await db.execute("PRAGMA journal_mode = WAL")
        await db.execute("PRAGMA wal_autocheckpoint = 2000")  # pages; each checkpoint syncs the disk that RECORD is on
        await db.execute("PRAGMA synchronous = NORMAL")  # what a power cut takes is read from RECORD again
        await db.execute("PRAGMA busy_timeout = 5000")
        async with db.execute("PRAGMA user_version") as cursor:
            row = await cursor.fetchone()
        if row is not None and row[0] not in (0, SCHEMA_VERSION):
            await db.executescript("".join(f"DROP TABLE IF EXISTS {name};" for name in ("event", "reference", "minted", "checkpoint")))
        await db.executescript(SCHEMA)
        await db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        await db.commit()
        return cls(db, trust_domain)

    async def close(self) -> None:
        """Ends the connection."""
        await self._db.close()

    async def checkpoint(self) -> int:
        """Everything up to here is indexed."""
        async with self._db.execute("SELECT seq FROM checkpoint") as cursor:
            row = await cursor.fetchone()
        return int(row[0]) if row is not None else 0

    async def add(self, batch: Sequence[Arrived]) -> None:
        """All of a batch and its checkpoint, or nothing."""
        events: list[tuple[int, str, str, str, bytes, int | None]] = []
        found, minted = [], []
        for arrived in batch:
            about = self._about(arrived)
            events.append((arrived.seq, about.type, about.scope, arrived.subject, about.body, about.revision))
            found += [(*reference, arrived.seq) for reference in about.references]
            minted += [] if about.minted is None else [about.minted]
        try:
            await self._db.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?, ?)", events)
            await self._db.executemany("INSERT OR IGNORE INTO reference VALUES (?, ?, ?)", found)
            await self._db.executemany(ADD_MINTED, minted)
            await self._db.execute("UPDATE checkpoint SET seq = max(seq, ?)", (batch[-1].seq,))
            await self._db.commit()
        except BaseException:
            await self._db.rollback()
            raise

    def _about(self, arrived: Arrived) -> About:
        """What of it is indexed; FOREIGN for what is no record of its worker's."""
        event = _event(arrived.body)
        body, type_ = (UNREADABLE, "") if event is None else (arrived.body, event["type"])
        try:
            if event is not None and is_own(arrived.subject, type_):
                data = event["data"]
                scope = scope_of(type_, data, self._trust_domain)
                minted = minted_by(arrived.seq, type_, data, scope)
                if minted is None or all(abs(number) <= MAX_REVISION for number in minted[:5]):
                    return About(type_, scope, body, revision_of(type_, data), references(type_, data), minted)
        except (KeyError, TypeError, ValueError, AttributeError):
            pass  # it says what no record of its type says
        return About(FOREIGN, f"spiffe://{self._trust_domain}", body, 0)

    async def page(self, after: int, limit: int, types: Sequence[str] = ()) -> list[Indexed]:
        """Events in order."""
        chosen = f" AND type IN ({','.join('?' * len(types))})" if types else ""
        query = f"SELECT seq, type, scope, subject, body FROM event WHERE seq > ?{chosen} ORDER BY seq LIMIT ?"  # noqa: S608 - only marks
        return await self._events(query, (after, *types, limit))

    async def every(self, type_: str) -> AsyncIterator[Indexed]:
        """All events of a type, read a page at a time."""
        after = 0
        while events := await self.page(after, PAGE, (type_,)):
            for event in events:
                yield event
            after = events[-1].seq

    async def decided(self, revision: int, seq: int, limit: int) -> list[Decided]:
        """Decisions after that place, by the facts revision that they name, and by sequence within one."""
        query = (
            "SELECT seq, type, scope, subject, body, revision FROM event "
            "WHERE revision IS NOT NULL AND (revision, seq) > (?, ?) ORDER BY revision, seq LIMIT ?"
        )
        async with self._db.execute(query, (revision, seq, limit)) as cursor:
            return [Decided(row[5], _indexed(row)) for row in await cursor.fetchall()]

    async def about(self, kind: str, values: Iterable[str], after: int = 0, limit: int = PAGE) -> list[Indexed]:
        """The first events after that sequence that any of these identifiers leads to."""
        wanted = tuple(values)
        marks = ",".join("?" * len(wanted))
        query = (
            "SELECT DISTINCT e.seq, e.type, e.scope, e.subject, e.body FROM event e JOIN reference r ON r.seq = e.seq "  # noqa: S608
            f"WHERE r.kind = ? AND r.value IN ({marks}) AND r.seq > ? ORDER BY e.seq LIMIT ?"
        )
        return await self._events(query, (kind, *wanted, after, limit))

    async def all_about(self, kind: str, values: Iterable[str], after: int = 0) -> AsyncIterator[Indexed]:
        """All of them, read a page at a time."""
        wanted = tuple(values)
        while events := await self.about(kind, wanted, after):
            for event in events:
                yield event
            after = events[-1].seq

    async def marked(self, mark: str, *, exp_after: int = 0, iat_from: int = 0, limit: int) -> list[Minted]:
        """Tokens that bear the mark, oldest first: such as end after one time and were minted at or after another."""
        where = "exp > ? AND iat >= ? AND instr(marks, ?) > 0"
        return await self._minted(where, (exp_after, iat_from, mark), limit)

    async def minted_at(self, seqs: Sequence[int]) -> list[Minted]:
        """The tokens of these events."""
        return await self._minted(f"seq IN ({','.join('?' * len(seqs))})", seqs, len(seqs)) if seqs else []

    async def decided_within(self, agent: str, revisions: tuple[int, int], *, iat_from: int, limit: int) -> list[Minted]:
        """Tokens that this agent was given by facts from one revision up to, but not including, another."""
        where = "agent = ? AND facts >= ? AND facts < ? AND iat >= ?"
        return await self._minted(where, (agent, *revisions, iat_from), limit)

    async def of_transactions(self, txns: Sequence[str], limit: int) -> list[Minted]:
        """Every token of these transactions."""
        return await self._minted(f"txn IN ({','.join('?' * len(txns))})", txns, limit)

    async def _minted(self, where: str, values: Sequence[Any], limit: int) -> list[Minted]:
        query = f"SELECT * FROM minted WHERE {where} ORDER BY seq LIMIT ?"  # noqa: S608 - marks alone
        async with self._db.execute(query, (*values, limit)) as cursor:
            return [Minted(*row) for row in await cursor.fetchall()]

    async def _events(self, query: str, values: Sequence[Any]) -> list[Indexed]:
        async with self._db.execute(query, values) as cursor:
            rows = await cursor.fetchall()
        return [_indexed(row) for row in rows]


def _indexed(row: Sequence[Any]) -> Indexed:
    return Indexed(row[0], row[1], row[2], row[3], orjson.loads(row[4]))


def _event(body: bytes) -> dict[str, Any] | None:
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    usable = isinstance(event, dict) and isinstance(event.get("type"), str) and isinstance(event.get("data"), dict)
    return event if usable else None
