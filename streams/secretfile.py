"""Secrets as files: mode 0600 in folders of mode 0700, written whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600


class LooseSecret(Exception):
    """A secret's file, or its folder, that others may read."""


def private_folder(folder: Path) -> Path:
    """Make the folder for its owner alone, and its parents."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(_FOLDER_MODE)
    return folder


def private_file(path: Path) -> None:
    """Make it where it is missing, empty, for its owner alone; SQLite gives its log files the mode of its first.  Raises LooseSecret."""
    private_folder(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
    _check(path)


def write_secret(path: Path, content: bytes) -> None:
    """Replace the file's content atomically."""
    temporary = _temporary(path, content)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_new_secret(path: Path, content: bytes) -> None:
    """The same where there is no such file yet.  Raises FileExistsError."""
    temporary = _temporary(path, content)
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path, content: bytes) -> Path:
    """Beside it, on the disk."""
    private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def read_secret(path: Path) -> bytes:
    """The content.  Raises FileNotFoundError, and LooseSecret where group or others have any right to it."""
    _check(path)
    return path.read_bytes()


def _check(path: Path) -> None:
    if path.stat().st_mode & 0o077:
        raise LooseSecret(f"{path} must have mode 0600")
