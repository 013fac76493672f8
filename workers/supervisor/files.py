"""A fabric's folder: made once, then only completed.  Everything in it is for its owner alone (0700).

Made here: `fabric.json`, operator mode (streams.operator), the signing keys (streams.keys, streams.tokenkeys), the broker's key-encryption
key, the first person's seed.  Nothing is contacted; what a folder already holds is kept, so this may run as often as anyone likes.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weft.nkey import KeyPair

from config.settings import Settings, SettingsError, load, parse
from streams import namessecret, tokenkeys
from streams.envelope import load_or_create_kek
from streams.keys import PURPOSES, Purpose, load_or_create, seal_key
from streams.operator import create_operator
from streams.secretfile import read_secret, write_secret

FIRST_PERSON = "operator"


class FolderInUse(Exception):
    """Another supervisor has this folder."""


@contextmanager
def owned(state: Path) -> Iterator[None]:
    """The folder, to ourselves.  Raises FolderInUse."""
    make_folder(state)
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise FolderInUse(f"another `weft up` runs in {state}") from None
    finally:
        os.close(descriptor)


def make_folder(state: Path) -> None:
    """0700, also where it existed.  Raises SettingsError where it is someone else's."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    if state.stat().st_uid != os.getuid():
        raise SettingsError(f"{state} belongs to someone else")
    state.chmod(0o700)


def create_files(state: Path, changes: Mapping[str, Any]) -> Settings:
    """The folder, complete; `changes` go into `fabric.json`.  Raises SettingsError."""
    state = state.resolve()
    make_folder(state)
    settings = write_settings(state, changes)
    for folder in ("audit", "issuer", "broker"):
        (state / folder).mkdir(exist_ok=True, mode=0o700)
    create_operator(state, settings)
    for purpose in purposes_of(settings):
        load_or_create(settings, purpose)
    seal_key(settings)
    for folder in ("subscriptions", "signals"):
        (settings.keys / folder).mkdir(exist_ok=True, mode=0o700)
    tokenkeys.first(settings)
    namessecret.load_or_create(settings, load_or_create_kek(settings))
    first_person(settings)
    return settings


def purposes_of(settings: Settings) -> tuple[Purpose, ...]:
    """What this fabric signs itself.  In production SVIDs come from elsewhere, and their keys enter as facts."""
    return tuple(purpose for purpose in PURPOSES if purpose != "svid" or settings.mode == "development")


def write_settings(state: Path, changes: Mapping[str, Any]) -> Settings:
    """`fabric.json` with `changes` in it, valid or not written at all.  A fabric never changes its trust domain."""
    path = state / "fabric.json"
    held: dict[str, Any] = {}
    if path.exists():
        held = load(state, {}).model_dump(mode="json", exclude={"state"})
        if changes.get("trust_domain", held["trust_domain"]) != held["trust_domain"]:
            raise SettingsError(f"{state} is the fabric of {held['trust_domain']}")
    elif domain := changes.get("trust_domain"):
        held = {"issuer": f"https://txn-svc.{domain}", "gateway_id": f"apigateway.{domain}"}
    settings = parse(state, {**held, **changes})
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(settings.model_dump(mode="json", exclude={"state"}, exclude_none=True), indent=2) + "\n")
    draft.replace(path)
    return settings


def first_person(settings: Settings) -> KeyPair:
    """The key of the person who may do everything at first."""
    path = settings.state / "operators" / f"{FIRST_PERSON}.seed"
    try:
        return KeyPair.from_seed(read_secret(path).decode().strip())
    except FileNotFoundError:
        pair = KeyPair("U")
        write_secret(path, pair.seed.encode() + b"\n")
        return pair
