"""Who called, as the server attests it: `Nats-Request-Info`, written by nats-server on every import with `share: true`.

`acc` is the public key of the account that the call came from.  The name in the user JWT stands in `user` where the callout placed the
connection, and in `name_tag` where the connection came with a JWT of its own, as the edge does (there, `user` is the nkey, and for the
callout's connections `name_tag` is the sentinel's name).  `name`, in the same header, is the client's own word and is never read.  A
header of that name sent by a client is overwritten by the import; inside FABRIC nobody may publish on these subjects
(`streams.access`), so none arrives without one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from streams import access, subjects

_HEADER = "Nats-Request-Info"
_MAX_HEADER_BYTES = 8_192
_NAMED = tuple(value for value in vars(subjects).values() if isinstance(value, subjects.Subject))


class CallerUnknown(Exception):
    """The server did not attest that this subject's name called from the account it belongs to."""


class Caller(NamedTuple):
    """Who called."""

    account: str
    name: str


def caller(headers: Mapping[str, str] | None, subject: str, accounts: Mapping[str, str]) -> Caller:
    """The attested caller of a message; `accounts` are names to public keys (`streams.operator.accounts`).  Raises CallerUnknown.

    1. The server wrote who called.  2. From an account that this subject is exported to.  3. Under the name the subject ends in.
    """
    info = _attested((headers or {}).get(_HEADER, ""))  # 1
    for account in _accounts_of(subject):  # 2
        if info.get("acc") == accounts[account]:
            break
    else:
        raise CallerUnknown("not from an account that may call here")
    name, named = info.get("user" if account in access.OUTER_ACCOUNTS else "name_tag"), _name_in(subject)
    if account == "EGRESS" and name == "egress" and named:
        name = named  # its copies share a credential that may publish under the egress's SPIFFE ID alone, each with an instance of its own
    if not isinstance(name, str) or not name or named not in (name, None):  # 3
        raise CallerUnknown("the subject names another caller")
    return Caller(account, name)


def _attested(text: str) -> dict[str, object]:
    try:
        info = json.loads(text) if 0 < len(text) <= _MAX_HEADER_BYTES else None
    except (ValueError, RecursionError):
        info = None
    if not isinstance(info, dict):
        raise CallerUnknown("the server attested no caller")
    return info


def _accounts_of(subject: str) -> tuple[str, ...]:
    for export in access.EXPORTS:
        prefix = export.subject.removesuffix(">")
        if subject == export.subject or (prefix != export.subject and subject.startswith(prefix)):
            return export.to if export.share else ()
    return ()


def _name_in(subject: str) -> str | None:
    """The name that a subject ends in; none for a subject that takes none."""
    for family in _NAMED:
        if not family.open and subject == family.prefix:
            return None
        if family.open and subject.startswith(family.prefix + "."):
            return family.name(subject)
    return ""
