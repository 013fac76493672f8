"""What was obtained and still lives, sealed in a file of the broker's folder, so that a broker that is killed leaves nothing behind that
nobody takes back.  docs/decisions/0013-forms-of-tokens.md.

A row is one token: ciphertext under a data key of its own (streams.envelope), with the token's digest, its end, and who holds it in clear.
A holder is one running broker, and proves that it runs by a lock on a file (flock(2)), which the kernel lets go the moment the process is
gone, however it ended.  Whoever gets the lock of another holder takes over its rows, alone, and keeps them as its own.  So of several
brokers with one folder exactly one takes back what a dead one left; brokers with a folder each take theirs back when they start again.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Self

import aiosqlite
from pydantic import Field, ValidationError
from weft.digest import sha256

from schemas.authservers import ObtainBy
from schemas.base import Wire
from schemas.facts import AuthorizationServer
from schemas.sealed import Sealed
from streams.envelope import CannotOpen, KEKUnavailable, KeyEncryption, rewrap, seal, unseal
from streams.secretfile import private_file, private_folder
from workers.broker.authservers.held import MAX_HELD, Held, Served, Whose
from workers.broker.authservers.ports import NotKept

FILE, HOLDERS = "obtained.db", "holders"
SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS obtained
  (digest TEXT PRIMARY KEY, holder TEXT NOT NULL, ends REAL NOT NULL,
   kek TEXT NOT NULL, wrapped TEXT NOT NULL, nonce TEXT NOT NULL, ciphertext TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS obtained_holder ON obtained (holder);
"""


class Kept(Wire):
    """What is sealed: all that taking the token back needs, and saying so on RECORD; of calls, what a revocation would name."""

    server: AuthorizationServer
    tool: str
    resource: str
    by: ObtainBy
    scopes: tuple[str, ...]
    sub: str
    agent: str
    instance: str
    token: Annotated[str, Field(repr=False)]
    exp: float
    until: float
    serves: bool
    calls: tuple[tuple[str, str, int, tuple[str, ...]], ...]  # jti, txn, revocation counter, targets


class Ledger:
    """One broker's part of the file.  Writes are on the disk when they return."""

    def __init__(self, db: aiosqlite.Connection, kek: KeyEncryption, folder: Path) -> None:
        self._db = db
        self._kek = kek
        self._folder = folder
        self.holder, self._lock = _new_holder(folder)
        self._writing: dict[str, asyncio.Lock] = {}
        self.unreadable = 0  # rows under a key that is not held here: they end by themselves

    @classmethod
    async def open(cls, folder: Path, kek: KeyEncryption) -> Self:
        """The file in the broker's folder, made where it is missing, mode 0600.  Raises NotKept, LooseSecret."""
        private_file(folder / FILE)
        db = await aiosqlite.connect(folder / FILE)
        try:
            await _prepare(db)
            return cls(db, kek, private_folder(folder / HOLDERS))
        except OSError as error:  # a file system without locks, say
            await db.close()
            raise NotKept(f"{folder / HOLDERS}: {error.strerror}") from None
        except BaseException:
            await db.close()
            raise

    async def close(self) -> None:
        """From now on whoever comes next takes over what is left."""
        lock, self._lock = self._lock, -1
        try:
            await self._db.close()
        finally:
            if lock >= 0:
                os.close(lock)

    async def keep(self, held: Held) -> None:
        """As it is now.  Raises NotKept, and then nobody may rely on it."""
        digest = sha256(held.token)
        async with self._one_at_a_time(digest):
            if held.over:
                return
            try:
                sealed = await asyncio.to_thread(seal, self._kek, kept_of(held).wire(), _context(digest))
                row = (digest, self.holder, held.exp, sealed.kek, sealed.wrapped, sealed.nonce, sealed.ciphertext)
                await self._db.execute("INSERT OR REPLACE INTO obtained VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                await self._db.commit()
            except (aiosqlite.Error, ValueError, KEKUnavailable) as error:  # ValueError: closed
                raise NotKept(f"what was obtained cannot be kept: {type(error).__name__}") from None

    async def forget(self, held: Held) -> None:
        """It was taken back, or is over.  SQLite overwrites what it deletes (secure_delete)."""
        digest = sha256(held.token)
        async with self._one_at_a_time(digest):
            held.over = True
            with suppress(aiosqlite.Error, ValueError):  # what is left ends by itself, or is taken back twice
                await self._db.execute("DELETE FROM obtained WHERE digest = ?", (digest,))
                await self._db.commit()
        self._writing.pop(digest, None)

    async def adopt(self, now: float) -> list[Held]:
        """What brokers that are gone have left, from here on ours: at most `MAX_HELD` at a time.  Raises NotKept."""
        try:
            await self._db.execute("DELETE FROM obtained WHERE ends <= ?", (now,))
            await self._db.commit()
            return await self._adopted()
        except (aiosqlite.Error, ValueError, OSError) as error:
            raise NotKept(f"what others left cannot be read: {type(error).__name__}") from None

    async def _adopted(self) -> list[Held]:
        found: list[Held] = []
        for holder in await asyncio.to_thread(self._others):
            lock = _locked(self._folder / holder)
            if lock is None:
                continue
            try:
                found += await self._take_over(holder, MAX_HELD - len(found))
            finally:
                os.close(lock)
        return found

    async def rewrap(self) -> int:
        """Wrap under the current KEK what lies under an older one; how many."""
        query = "SELECT digest, kek, wrapped, nonce, ciphertext FROM obtained WHERE kek != ?"
        async with self._db.execute(query, (self._kek.current,)) as cursor:
            rows = list(await cursor.fetchall())
        for digest, *columns in rows:
            with suppress(CannotOpen):
                again = await asyncio.to_thread(rewrap, self._kek, _sealed(columns), _context(digest))
                change = "UPDATE obtained SET kek = ?, wrapped = ? WHERE digest = ? AND wrapped = ?"
                await self._db.execute(change, (again.kek, again.wrapped, digest, columns[1]))
        await self._db.commit()
        return len(rows)

    # --- holders --------------------------------------------------------------------------------------------------------------------

    def _others(self) -> list[str]:
        return sorted(path.name for path in self._folder.iterdir() if path.name != self.holder)

    async def _take_over(self, holder: str, most: int) -> list[Held]:
        """With the holder's lock held.  Its file goes with its last row."""
        query = "SELECT digest, kek, wrapped, nonce, ciphertext FROM obtained WHERE holder = ? ORDER BY ends LIMIT ?"
        async with self._db.execute(query, (holder, most)) as cursor:
            rows = list(await cursor.fetchall())
        moved = [(self.holder, row[0]) for row in rows]
        await self._db.executemany("UPDATE obtained SET holder = ? WHERE digest = ?", moved)
        await self._db.commit()
        if len(rows) < most:
            (self._folder / holder).unlink(missing_ok=True)
        opened = [await asyncio.to_thread(self._open, row[0], _sealed(row[1:])) for row in rows]
        found = [held for held in opened if held is not None]
        self.unreadable += len(opened) - len(found)
        return found

    def _open(self, digest: str, sealed: Sealed) -> Held | None:
        try:
            return held_of(Kept.model_validate_json(unseal(self._kek, sealed, _context(digest))))
        except (CannotOpen, KEKUnavailable, ValidationError):
            return None

    def _one_at_a_time(self, digest: str) -> asyncio.Lock:
        return self._writing.setdefault(digest, asyncio.Lock())


def kept_of(held: Held) -> Kept:
    """As it is now."""
    w = held.whose
    calls = tuple(_without_repetition(held.calls))
    return Kept(
        server=held.server, tool=w.tool, resource=w.resource, by=w.by, scopes=w.scopes, sub=w.sub, agent=w.agent, instance=w.instance,
        token=held.token, exp=held.exp, until=held.until, serves=held.serves, calls=calls,
    )  # fmt: skip


def _without_repetition(calls: list[Served]) -> Iterator[tuple[str, str, int, tuple[str, ...]]]:
    """A target that an earlier call names, minted at a counter no higher, is hit whenever this one is: 32 calls of one agent stay small."""
    least: dict[str, int] = {}
    for call in calls:
        named = tuple(target for target in call.targets if least.get(target, call.rev + 1) > call.rev)
        least.update(dict.fromkeys(named, call.rev))
        yield call.jti, call.txn, call.rev, named


def held_of(kept: Kept) -> Held:
    """As it was."""
    s = kept.server
    whose = Whose(
        s.name, s.issuer, s.client_id, kept.tool, kept.resource, kept.by, kept.scopes, kept.sub, kept.agent, kept.instance
    )  # fmt: skip
    calls = [Served(jti, txn, rev, targets) for jti, txn, rev, targets in kept.calls]
    return Held(whose, s, kept.token, exp=kept.exp, until=kept.until, calls=calls, serves=kept.serves)


async def _prepare(db: aiosqlite.Connection) -> None:
    for pragma in ("busy_timeout = 5000", "journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
        await db.execute(f"PRAGMA {pragma}")
    async with db.execute("PRAGMA user_version") as cursor:
        row = await cursor.fetchone()
    if row is None or row[0] not in (0, SCHEMA_VERSION):
        raise NotKept(f"{FILE} is of another version")
    await db.executescript(SCHEMA)
    await db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    await db.commit()


def _new_holder(folder: Path) -> tuple[str, int]:
    """A name of our own, and its lock.  Again where somebody took the file for a dead one's before it was locked."""
    while True:
        name = secrets.token_hex(16)
        lock = _locked(folder / name, create=True)
        if lock is not None:
            return name, lock


def _locked(path: Path, *, create: bool = False) -> int | None:
    """The lock of that holder, as a descriptor; none where it is alive, or its file is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0), 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _context(digest: str) -> str:
    return f"weft obtained {digest}"


def _sealed(row: aiosqlite.Row | list[str] | tuple[str, ...]) -> Sealed:
    return Sealed(kek=row[0], wrapped=row[1], nonce=row[2], ciphertext=row[3])
