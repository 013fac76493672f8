"""What other domains know people and agents by is made with this: 32 bytes in `broker/names.json`, sealed like the keys of tokens.

Every broker of a fabric needs the same, and with it lost everybody is a stranger there.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError
from weft.digest import sha256

from config.settings import Settings
from schemas.sealed import SealedKey
from streams.envelope import CannotOpen, KeyEncryption, rewrap, seal, unseal
from streams.secretfile import read_secret, write_new_secret, write_secret

SECRET_BYTES = 32
KID = sha256("weft names toward other domains")
CONTEXT = f"weft names {KID}"


def load_or_create(settings: Settings, kek: KeyEncryption) -> bytes:
    """The secret: found, taken over from the file of an earlier version, or made.  Raises CannotOpen, KEKUnavailable, LooseSecret."""
    path, old = _path(settings), settings.keys / "names.secret"
    if not path.exists():
        secret = read_secret(old) if old.exists() else os.urandom(SECRET_BYTES)
        sealed = SealedKey(kid=KID, jwk={"kty": "oct"}, at=int(time.time()), sealed=seal(kek, secret, CONTEXT))
        with suppress(FileExistsError):  # somebody was faster, and theirs counts
            write_new_secret(path, sealed.wire())
    secret = unseal(kek, _read(path).sealed, CONTEXT)
    if old.exists() and read_secret(old) == secret:
        with suppress(OSError):  # a container may have it read-only; `weft init` takes it away
            old.unlink()
    return secret


def rewrap_it(settings: Settings, kek: KeyEncryption) -> int:
    """Wrap it under the current KEK, where it lies under an older one; how many.  Raises CannotOpen, KEKUnavailable."""
    path = _path(settings)
    held = _read(path) if path.exists() else None
    again = None if held is None else rewrap(kek, held.sealed, CONTEXT)
    if held is None or again is None or again is held.sealed:
        return 0
    write_secret(path, held.model_copy(update={"sealed": again}).wire())
    return 1


def _read(path: Path) -> SealedKey:
    try:
        return SealedKey.model_validate_json(read_secret(path))
    except ValidationError:
        raise CannotOpen(f"{path.name} is not a sealed secret") from None


def _path(settings: Settings) -> Path:
    return settings.state / "broker" / "names.json"
