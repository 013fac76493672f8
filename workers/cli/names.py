"""Facts as people name them: an agent by its SPIFFE ID, a relation by its three words, a person by the name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weft.digest import sha256
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.facts import Kind, UserIssuer
from streams.subjects import relation_key
from workers.cli.exits import Exit, Stop
from workers.common.people import NoPerson, person_of

if TYPE_CHECKING:
    from workers.common.operator_client import OperatorClient

_BY_ID = (Kind.AGENT, Kind.NAMESPACE)
_BY_DIGEST = (Kind.TRANSMITTER, Kind.ISSUER, Kind.CLIENT)
_LISTED = (Kind.PERSON, Kind.POSTURE, Kind.CLIENT)  # few, and keyed by what nobody remembers


def described(key: str, body: Mapping[str, Any] | None) -> str:
    """A fact's name for people: relations and parties are keyed by digests."""
    if body is None:
        return key
    if "relation" in body:
        return f"{body['subject']} {body['relation']} {body['object']}"
    named = (body.get(field) for field in ("iss", "client_id", "value", "name", "id", "prefix"))
    return str(next((name for name in named if name), key))


def key_in(kind: Kind, text: str) -> str:
    """The key that a name leads to; a key is its own.  Ends the command where a SPIFFE ID is none."""
    if kind in _BY_ID and "://" in text:
        try:
            return SpiffeID.parse(text).subject
        except InvalidSpiffeID as error:
            raise Stop(Exit.USAGE, "usage", f"{text} is no SPIFFE ID: {error}") from None
    if kind in _BY_DIGEST and "://" in text:
        return sha256(text)
    words = text.split()
    return relation_key(*words) if kind is Kind.RELATION and len(words) == 3 else text


async def key_for(client: OperatorClient, kind: Kind, text: str) -> str:
    """As `key_in`; where that is no fact, the one of this name among those of a kind that has few."""
    key = key_in(kind, text)
    if kind in _LISTED and not (await client.query(what="get", kind=kind, key=key)).rows:
        for row in await client.all(what="list", kind=kind):
            if described(row["key"], row["fact"].get("body")) == text:
                return str(row["key"])
    return key


async def people(client: OperatorClient) -> dict[str, str]:
    """Persons' names by their keys: who a fact is by."""
    rows = await client.all(what="list", kind=Kind.PERSON)
    return {row["key"]: described(row["key"], row["fact"].get("body")) for row in rows}


async def person_named(client: OperatorClient, said: str) -> str:
    """A person as this fabric calls them.  `ISSUER#SUB` is looked up, which takes an auditor; ends the command where it means nobody."""
    iss, mark, sub = said.partition("#")
    if not mark or "://" not in iss:
        return said
    bodies = (row["fact"].get("body") for row in await client.all(what="list", kind=Kind.ISSUER))
    issuers = tuple(UserIssuer.model_validate(body, strict=False) for body in bodies if body is not None)
    issuer = next((one for one in issuers if one.iss == iss), None)
    if issuer is None:
        raise Stop(Exit.REFUSED, "not_found", f"{iss} is no provider among the facts (kind issuer)")
    try:
        return person_of(issuer, sub, issuers)
    except NoPerson as nobody:
        raise Stop(Exit.REFUSED, "not_found", str(nobody)) from None
