"""Operator mode: the operator, its accounts, their keys, and every worker's credentials.  docs/decisions/0001-operator-mode.md.

Keys are made once and kept; JWTs and the configuration are rendered anew from `streams.access` at each run, so a changed table takes
effect with the next start.  Folders, by who needs them:

    keys/operator/   operator.seed and one identity seed per account: the roots, needed only here; take them off the machine
    keys/accounts/   admission's: the scoped signing key of each outer account, AUTH's signing key, the callout's curve key
    creds/           one `<credential>.creds` per row of the table
    accounts.json    the accounts' public keys, by name
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from weft.nkey import KeyPair, Kind
from weft.spiffeid import SpiffeID

from config.settings import Settings
from streams import access, natsjwt
from streams.secretfile import read_secret, write_secret
from streams.serverconf import Cluster, Node, OperatorJWTs, TLSFiles, render

_UNLIMITED = {"subs": -1, "data": -1, "payload": -1}
_ACCOUNT_LIMITS = {**_UNLIMITED, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": 0}
_NOTHING = {"pub": {"deny": [">"]}, "sub": {"deny": [">"]}}
_JETSTREAM_LIMITS = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
_RESPONSE_THRESHOLD_NS = access.RESPONSE_TTL_NS
_CREDS = """-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""
_SEED_IN_CREDS = re.compile(r"\bSU[A-Z2-7]{56}\b")
_KeyT = TypeVar("_KeyT", KeyPair, natsjwt.CurveKey)


@dataclass(frozen=True, slots=True)
class OperatorFiles:
    """What `create_operator` made."""

    accounts: dict[str, str]  # name to public key
    jwts: OperatorJWTs
    server_conf: Path


@dataclass(frozen=True, slots=True)
class AdmissionKeys:
    """All that admission may sign with.  Neither FABRIC's key nor SYS's nor the operator's is among them."""

    scoped: dict[str, KeyPair]  # outer account to the key that its template binds
    auth: KeyPair  # signs answers of the callout, for AUTH
    xkey: natsjwt.CurveKey
    accounts: dict[str, str]


def create_operator(state: Path, settings: Settings) -> OperatorFiles:
    """Make what is missing, render everything.  Idempotent."""
    keys = _Keys(state)
    egress = SpiffeID.parse(settings.egress_id).subject
    accounts = {name: pair.public for name, pair in keys.accounts.items()}
    jwts = OperatorJWTs(
        operator=_operator_jwt(keys),
        system_account=accounts["SYS"],
        sentinel=_sentinel(keys),
        accounts={accounts[name]: _account_jwt(name, keys) for name in access.ACCOUNTS},
    )
    for credential in access.CREDENTIALS.values():
        write_secret(state / "creds" / f"{credential.name}.creds", _creds(credential, keys, egress).encode())
    (state / "accounts.json").write_text(json.dumps(accounts, indent=2) + "\n")
    conf = state / "nats" / "server.conf"
    write_secret(conf, render(jwts, node_of(settings, name="weft", store=state / "nats" / "js")).encode())
    return OperatorFiles(accounts, jwts, conf)


def accounts(settings: Settings) -> dict[str, str]:
    """Account names to public keys.  Raises FileNotFoundError where no operator was created."""
    held: dict[str, str] = json.loads((settings.state / "accounts.json").read_bytes())
    return held


def admission_keys(settings: Settings) -> AdmissionKeys:
    """Raises FileNotFoundError or LooseSecret."""
    folder = settings.keys / "accounts"
    scoped = {account: KeyPair.from_seed(_read(folder / f"{account.lower()}.seed")) for account in access.OUTER_ACCOUNTS}
    auth, xkey = KeyPair.from_seed(_read(folder / "auth.seed")), natsjwt.CurveKey.from_seed(_read(folder / "xkey.seed"))
    return AdmissionKeys(scoped, auth, xkey, accounts(settings))


class _Keys:
    """Every key of operator mode, loaded or made."""

    def __init__(self, state: Path) -> None:
        roots, held = state / "keys" / "operator", state / "keys" / "accounts"
        self.operator = _pair(roots / "operator.seed", "O")
        self.accounts = {name: _pair(roots / f"{name.lower()}.seed", "A") for name in access.ACCOUNTS}
        self.scoped = {name: _pair(held / f"{name.lower()}.seed", "A") for name in access.OUTER_ACCOUNTS}
        self.auth_signer = _pair(held / "auth.seed", "A")
        self.xkey = _load_or_make(held / "xkey.seed", natsjwt.CurveKey.from_seed, natsjwt.CurveKey)
        self.users = {name: _user_key(state / "creds" / f"{name}.creds") for name in access.CREDENTIALS}


def _pair(path: Path, kind: Kind) -> KeyPair:
    return _load_or_make(path, KeyPair.from_seed, lambda: KeyPair(kind))


def _load_or_make(path: Path, load: Callable[[str], _KeyT], make: Callable[[], _KeyT]) -> _KeyT:
    try:
        return load(_read(path))
    except FileNotFoundError:
        key = make()
        write_secret(path, key.seed.encode() + b"\n")
        return key


def _read(path: Path) -> str:
    return read_secret(path).decode().strip()


# --- JWTs ---------------------------------------------------------------------------------------------------------------------


def _operator_jwt(keys: _Keys) -> str:
    nats = {"type": "operator", "version": 2, "system_account": keys.accounts["SYS"].public}
    return natsjwt.encode({"sub": keys.operator.public, "name": "weft", "nats": nats}, keys.operator)


def _account_jwt(name: str, keys: _Keys) -> str:
    nats: dict[str, Any] = {"type": "account", "version": 2, "limits": _limits(name)}
    nats["exports"] = [_export(export) for export in access.EXPORTS if export.by == name]
    nats["imports"] = [_import(export, name, keys) for export in access.EXPORTS if name in export.to]
    nats["signing_keys"] = [_scope(template, keys) for template in access.TEMPLATES.values() if template.account == name]
    if name == "AUTH":
        nats["signing_keys"] = [_user_scope(keys.auth_signer, "answers", _NOTHING)]
        nats["authorization"] = _callout(keys)
    return natsjwt.encode({"sub": keys.accounts[name].public, "name": name, "nats": nats}, keys.operator)


def _limits(name: str) -> dict[str, Any]:
    jetstream = _JETSTREAM_LIMITS if name == access.JETSTREAM_ACCOUNT else {}
    held = access.LIMITS.get(name)
    per_connection = {} if held is None else {"subs": held.subscriptions, "payload": held.payload_bytes}
    return {**_ACCOUNT_LIMITS, **jetstream, **per_connection}


def _export(export: access.Export) -> dict[str, Any]:
    common = {"name": export.subject, "subject": export.subject, "type": export.type, "token_req": True}
    if export.type == "stream":
        return common
    return {**common, "response_type": export.response, "response_threshold": _RESPONSE_THRESHOLD_NS}


def _import(export: access.Export, name: str, keys: _Keys) -> dict[str, Any]:
    """With the activation token that makes the export private to the accounts it names."""
    by = keys.accounts[export.by]
    activation = {"type": "activation", "version": 2, "subject": export.subject, "kind": export.type}
    token = natsjwt.encode({"sub": keys.accounts[name].public, "name": export.subject, "nats": activation}, by)
    common = {"name": export.subject, "subject": export.subject, "account": by.public, "type": export.type, "token": token}
    return {**common, "share": True} if export.type == "service" and export.share else common


def _scope(template: access.Template, keys: _Keys) -> dict[str, Any]:
    return _user_scope(keys.scoped[template.account], template.role, template.permissions.claims())


def _user_scope(key: KeyPair, role: str, claims: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "user_scope", "key": key.public, "role": role, "template": {**_UNLIMITED, **claims}}


def _callout(keys: _Keys) -> dict[str, Any]:
    return {
        "auth_users": [keys.users["admission-auth"].public],
        "allowed_accounts": [keys.accounts[name].public for name in access.OUTER_ACCOUNTS],
        "xkey": keys.xkey.public,
    }


def _sentinel(keys: _Keys) -> str:
    """What a connection without a JWT counts as until the callout answers.  A bearer token for anyone to see: it may do nothing."""
    nats = {"type": "user", "version": 2, **_UNLIMITED, **_NOTHING, "bearer_token": True}
    return natsjwt.encode({"sub": KeyPair("U").public, "name": "sentinel", "nats": nats}, keys.accounts["AUTH"])


# --- credentials ----------------------------------------------------------------------------------------------------------------


def _creds(credential: access.Credential, keys: _Keys, egress: str) -> str:
    user = keys.users[credential.name]
    claims = _filled(credential.permissions.claims(), {**{name: pair.public for name, pair in keys.accounts.items()}, "egress": egress})
    nats = {"type": "user", "version": 2, **_UNLIMITED, **claims}
    jwt = natsjwt.encode({"sub": user.public, "name": credential.name, "nats": nats}, keys.accounts[credential.account])
    return _CREDS.format(jwt=jwt, seed=user.seed)


def _filled(claims: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """Put accounts' public keys where the table names them as `{AGENTS}`, and the egress's own subject where it says `{egress}`."""
    text = json.dumps(claims)
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    filled: dict[str, Any] = json.loads(text)
    return filled


def _user_key(creds: Path) -> KeyPair:
    """The key of a credential that exists, or a new one."""
    try:
        seed = _SEED_IN_CREDS.search(_read(creds))
    except FileNotFoundError:
        seed = None
    return KeyPair("U") if seed is None else KeyPair.from_seed(seed.group())


def node_of(settings: Settings, *, name: str, store: Path, cluster: Cluster | None = None) -> Node:
    """A server on this machine; the host is the first of `servers`, and so is the port of one that is alone."""
    url = urlsplit(settings.servers[0])
    tls = None
    if settings.nats_cert and settings.nats_key and settings.tls_ca:
        tls = TLSFiles(settings.nats_cert, settings.nats_key, settings.tls_ca)
    port = (url.port or 4222) if cluster is None else -1
    return Node(name=name, store=store, host=url.hostname or "127.0.0.1", port=port, tls=tls, cluster=cluster)
