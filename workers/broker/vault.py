"""The vault's file: sealed credentials in SQLite, the one store beside the streams (docs/decisions/0012-vault-and-keys.md).

A row is ciphertext under a data key of its own; which row counts, the fact of kind `credential` says by the digest.  So several brokers may
have one file open (WAL, on one machine), or a file each: what a file lacks, another broker gives.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import aiosqlite
from weft.digest import sha256

from schemas.sealed import Sealed, SealedSecret
from streams.envelope import KeyEncryption, rewrap
from streams.secretfile import private_file

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS credential
  (name TEXT NOT NULL, digest TEXT NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL, context TEXT NOT NULL,
   kek TEXT NOT NULL, wrapped TEXT NOT NULL, nonce TEXT NOT NULL, ciphertext TEXT NOT NULL, PRIMARY KEY (name, digest));
"""


class VaultBroken(Exception):
    """The file is of another version, or no vault."""


def digest_of(sealed: Sealed) -> str:
    """What tells one sealed value from another; wrapping its data key anew changes nothing of it."""
    return sha256(f"{sealed.nonce}.{sealed.ciphertext}")


class Vault:
    """One connection to the file."""

    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Made where it is missing, mode 0600.  Raises VaultBroken, LooseSecret."""
        private_file(path)
        vault = cls(await aiosqlite.connect(path))
        try:
            await vault._prepare(path.name)
        except BaseException:
            await vault.close()
            raise
        return vault

    async def _prepare(self, name: str) -> None:
        for pragma in ("busy_timeout = 5000", "journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            await self._db.execute(f"PRAGMA {pragma}")
        async with self._db.execute("PRAGMA user_version") as cursor:
            row = await cursor.fetchone()
        if row is None or row[0] not in (0, SCHEMA_VERSION):
            raise VaultBroken(f"{name} is a vault of another version")
        await self._db.executescript(SCHEMA)
        await self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        await self._db.commit()

    async def close(self) -> None:
        """Ends the connection."""
        await self._db.close()

    async def put(self, secret: SealedSecret, context: str) -> None:
        """Keep one version."""
        s = secret.sealed
        row = (secret.name, digest_of(s), secret.version, int(time.time()), context, s.kek, s.wrapped, s.nonce, s.ciphertext)
        await self._db.execute("INSERT OR REPLACE INTO credential VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        await self._db.commit()

    async def get(self, name: str, digest: str) -> SealedSecret | None:
        """The version with this digest."""
        query = "SELECT name, version, kek, wrapped, nonce, ciphertext FROM credential WHERE name = ? AND digest = ?"
        async with self._db.execute(query, (name, digest)) as cursor:
            row = await cursor.fetchone()
        return None if row is None else SealedSecret(name=row[0], version=row[1], sealed=_sealed(row[2:]))

    async def drop(self, name: str, digests: Iterable[str]) -> None:
        """Delete these versions.  SQLite overwrites what it deletes (secure_delete)."""
        await self._db.executemany("DELETE FROM credential WHERE name = ? AND digest = ?", [(name, digest) for digest in digests])
        await self._db.commit()

    async def versions(self, before: int) -> list[tuple[str, str, int]]:
        """Name, digest and version of what has lain here since then."""
        async with self._db.execute("SELECT name, digest, version FROM credential WHERE at < ?", (before,)) as cursor:
            return [(row[0], row[1], row[2]) for row in await cursor.fetchall()]

    async def rewrap(self, kek: KeyEncryption) -> int:
        """Wrap under the current KEK what lies under an older one; how many.  Raises CannotOpen, KEKUnavailable."""
        query = "SELECT name, digest, context, kek, wrapped, nonce, ciphertext FROM credential WHERE kek != ?"
        async with self._db.execute(query, (kek.current,)) as cursor:
            rows = list(await cursor.fetchall())
        for row in rows:
            again = rewrap(kek, _sealed(row[3:]), row[2])
            change = "UPDATE credential SET kek = ?, wrapped = ? WHERE name = ? AND digest = ?"
            await self._db.execute(change, (again.kek, again.wrapped, row[0], row[1]))
        await self._db.commit()
        return len(rows)


def _sealed(row: aiosqlite.Row | tuple[str, ...]) -> Sealed:
    return Sealed(kek=row[0], wrapped=row[1], nonce=row[2], ciphertext=row[3])
