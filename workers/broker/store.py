"""What the broker keeps sealed, opened: the keys of tokens, the key of the vault's box, and credentials.

Each is looked for in the broker's own folder first and asked of the other brokers then; what they give is kept here.  Opening may take a
KMS a while, so it runs in a thread.  Values leave this module as `bytes` for one use; nothing opened is kept but the keys that sign.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox
from pydantic import ValidationError
from weft.digest import b64u, sha256, unb64u

from config.settings import Settings
from schemas.facts import Credential, Kind
from schemas.sealed import SealedAnswer, SealedAsked, SealedKey, SealedSecret
from schemas.vault import Boxed
from streams import namessecret, tokenkeys
from streams.envelope import CannotOpen, KeyEncryption, rewrap, seal, unseal
from streams.facts_table import FactsTable
from streams.keys import SigningKey, WrongKey
from streams.secretfile import read_secret, write_secret
from workers.broker.peers import Peers
from workers.broker.vault import Vault, digest_of

BOX_FILE = "box.json"


class NotHeld(Exception):
    """Neither here nor at another broker, or it does not open."""


class Store:
    """Over the folder, the vault's file and the other brokers."""

    def __init__(self, settings: Settings, kek: KeyEncryption, vault: Vault) -> None:
        self._settings = settings
        self._kek = kek
        self.vault = vault
        self.peers: Peers | None = None  # set once there is a connection
        self._box: tuple[SealedKey, PrivateKey] | None = None

    async def rewrap(self) -> int:
        """Wrap under the current KEK whatever lies under an older one; how many.  Raises CannotOpen, KEKUnavailable."""
        keys = await asyncio.to_thread(self._rewrap_files)
        return keys + await self.vault.rewrap(self._kek)

    def _rewrap_files(self) -> int:
        count = tokenkeys.rewrap_all(self._settings, self._kek) + namessecret.rewrap_it(self._settings, self._kek)
        path = self._settings.state / "broker" / BOX_FILE
        held = SealedKey.model_validate_json(read_secret(path)) if path.exists() else None
        if held is None or held.sealed.kek == self._kek.current:
            return count
        again = rewrap(self._kek, held.sealed, _box_context(held.kid))
        write_secret(path, held.model_copy(update={"sealed": again}).wire())
        return count + 1

    # --- keys of tokens ---------------------------------------------------------------------------------------------------------

    async def token_key(self, kid: str) -> SigningKey:
        """The private half.  Raises NotHeld."""
        stored = await asyncio.to_thread(tokenkeys.find, self._settings, kid)
        if stored is None:
            stored = await self._asked_key(kid)
            key = await self._opened(stored)
            await asyncio.to_thread(tokenkeys.keep, self._settings, stored)
            return key
        return await self._opened(stored)

    async def new_token_key(self) -> SigningKey:
        """Another one, kept."""
        return await asyncio.to_thread(tokenkeys.create, self._settings, self._kek)

    async def stored_token_keys(self) -> list[SealedKey]:
        """All that lie in the folder."""
        return await asyncio.to_thread(lambda: list(tokenkeys.stored(self._settings)))

    async def destroy_token_key(self, kid: str) -> None:
        """The private half is gone from this folder."""
        await asyncio.to_thread(tokenkeys.destroy, self._settings, kid)

    async def _opened(self, stored: SealedKey) -> SigningKey:
        try:
            return await asyncio.to_thread(tokenkeys.open_key, self._kek, stored)
        except (CannotOpen, WrongKey) as error:
            raise NotHeld(str(error)) from None

    async def _asked_key(self, kid: str) -> SealedKey:
        answer = await self.peers.ask(SealedAsked(what="key", kid=kid)) if self.peers is not None else None
        if answer is None or answer.key is None or answer.key.kid != kid:
            raise NotHeld("no broker that answers has this key")
        return answer.key

    # --- the box that values arrive in --------------------------------------------------------------------------------------------

    async def box_key(self) -> str:
        """The public key to seal to, base64url."""
        if self._box is None:
            self._box = await asyncio.to_thread(self._load_box)
        return b64u(bytes(self._box[1].public_key))

    async def unbox(self, box_key: str, boxed: str) -> Boxed:
        """What was sealed to that key of ours, or of another broker's.  Raises NotHeld."""
        private = await self._private_box(box_key)
        try:
            return Boxed.model_validate_json(SealedBox(private).decrypt(unb64u(boxed)))
        except (CryptoError, ValidationError, ValueError):
            raise NotHeld("the box does not open, or holds no credential: 8 to 16384 printable ASCII characters on one line") from None

    async def _private_box(self, box_key: str) -> PrivateKey:
        own = await self.box_key()
        if self._box is not None and own == box_key:
            return self._box[1]
        stored = await self._asked_key(sha256(box_key))
        try:
            return PrivateKey(await asyncio.to_thread(unseal, self._kek, stored.sealed, _box_context(stored.kid)))
        except (CannotOpen, ValueError):
            raise NotHeld("the box was sealed to a key that is not held") from None

    def _load_box(self) -> tuple[SealedKey, PrivateKey]:
        path = self._settings.state / "broker" / BOX_FILE
        if path.exists():
            stored = SealedKey.model_validate_json(read_secret(path))
            return stored, PrivateKey(unseal(self._kek, stored.sealed, _box_context(stored.kid)))
        return self._make_box(path)

    def _make_box(self, path: Path) -> tuple[SealedKey, PrivateKey]:
        private = PrivateKey.generate()
        public = b64u(bytes(private.public_key))
        kid = sha256(public)
        jwk = {"kty": "OKP", "crv": "X25519", "x": public}  # RFC 8037 section 2
        stored = SealedKey(kid=kid, jwk=jwk, at=int(time.time()), sealed=seal(self._kek, bytes(private), _box_context(kid)))
        write_secret(path, stored.wire())
        return stored, private

    # --- credentials --------------------------------------------------------------------------------------------------------------

    async def sealed(self, fact: Credential, version: int) -> SealedSecret:
        """One version as it lies in a vault.  Raises NotHeld."""
        digest = next((held.digest for held in fact.versions if held.version == version), None)
        if digest is None:
            raise NotHeld(f"version {version} is not kept")
        found = await self.vault.get(fact.name, digest)
        if found is not None:
            if found.version != version:
                raise NotHeld(f"what is kept as version {version} is another")
            return found
        asked = SealedAsked(what="credential", name=fact.name, digest=digest)
        answer = await self.peers.ask(asked) if self.peers is not None else None
        given = answer.credential if answer is not None else None
        if given is None or (given.name, given.version, digest_of(given.sealed)) != (fact.name, version, digest):
            raise NotHeld("no broker that answers has this version")
        await self.vault.put(given, context_of(fact, version))
        return given

    async def value(self, fact: Credential, version: int | None = None) -> bytes:
        """The value.  Raises NotHeld."""
        number = fact.current if version is None else version
        return await self._unsealed(fact, await self.sealed(fact, number))

    async def _unsealed(self, fact: Credential, secret: SealedSecret) -> bytes:
        try:
            return await asyncio.to_thread(unseal, self._kek, secret.sealed, context_of(fact, secret.version))
        except CannotOpen as error:
            raise NotHeld(str(error)) from None

    async def take(self, fact: Credential, secret: SealedSecret) -> None:
        """Keep a version of a backup, once it has been seen to open.  Raises NotHeld."""
        await self._unsealed(fact, secret)
        await self.vault.put(secret, context_of(fact, secret.version))

    async def seal_value(self, fact: Credential, version: int, value: bytes) -> SealedSecret:
        """Seal and keep a version of what `fact` describes."""
        context = context_of(fact, version)
        secret = SealedSecret(name=fact.name, version=version, sealed=await asyncio.to_thread(seal, self._kek, value, context))
        await self.vault.put(secret, context)
        return secret

    async def sweep(self, facts: FactsTable, before: int) -> None:
        """Delete what the facts have let go: versions beyond the kept ones, and deleted credentials.  What no fact ever named stays."""
        for name, digest, version in await self.vault.versions(before):
            entry = facts.get(Kind.CREDENTIAL, name)
            if entry is not None and _let_go(entry[1].body, digest, version):
                await self.vault.drop(name, (digest,))

    async def held(self, asked: SealedAsked) -> SealedAnswer | None:
        """For another broker: what lies here, sealed."""
        if asked.what == "key" and asked.kid is not None:
            if self._box is not None and self._box[0].kid == asked.kid:
                return SealedAnswer(key=self._box[0])
            key = await asyncio.to_thread(tokenkeys.find, self._settings, asked.kid)
            return None if key is None else SealedAnswer(key=key)
        if asked.what == "credential" and asked.name is not None and asked.digest is not None:
            secret = await self.vault.get(asked.name, asked.digest)
            return None if secret is None else SealedAnswer(credential=secret)
        return None


def context_of(fact: Credential, version: int) -> str:
    """What a value is sealed for: its name, type and version, and the hosts that may see it.  Changed in a fact, it does not open."""
    return f"weft credential {fact.name} {version} {fact.type} {' '.join(sorted(fact.hosts))}"


def _let_go(body: object, digest: str, version: int) -> bool:
    """Deleted, or replaced by a later version and not kept."""
    if not isinstance(body, Credential):
        return body is None
    return version <= body.versions[-1].version and digest not in {kept.digest for kept in body.versions}


def _box_context(kid: str) -> str:
    return f"weft vault box {kid}"
