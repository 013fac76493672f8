"""What a model shows of itself when somebody prints or logs it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import weft
from pydantic import BaseModel, SecretBytes, SecretStr

import config
import schemas
import streams
import workers
from schemas.invocation import InvocationRequest
from schemas.vault import Boxed, Release


def test_a_model_that_holds_a_credential_does_not_show_it() -> None:
    """INVARIANT: neither `repr` nor `str` of a message shows the credential in it; the scrubbing of log lines knows tokens and no API key.

    Broken by a field that is shown as every other.
    """
    held = [
        Boxed(name="flux", type="api_key", hosts=("api.example",), value="sk-live-SECRET"),
        Release(token="a.b.SECRET", tool="crm", box_key="A" * 43),
        InvocationRequest(request="a.b.c", svid="a.b.SECRET", parent_token="a.b.SECRET", user_token="a.b.SECRET"),
    ]
    assert not [type(one).__name__ for one in held if "SECRET" in f"{one!r}{one}"]


# --- every model and dataclass ----------------------------------------------------------------------------------------------------------

HOLDS = frozenset(
    (
        *("token", "jwt", "svid", "assertion", "proof", "raw"),
        *("secret", "password", "passphrase", "credential", "authorization", "boxed"),
        *("key", "seed", "pem", "kek", "private"),
    )
)
"""A field of text whose name has one of these words is hidden.  What a key signs with is bytes, text or a class with a repr of its own."""

NOT_SECRET = {
    "schemas.Change.key": "of a fact",
    "schemas.PlanLine.key": "of a fact",
    "schemas.Query.key": "of a fact",
    "schemas.Egress.credential": "its name in the vault",
    "schemas.CredentialChange.credential_type": "a type",
    "schemas.CredentialCompromise.credential_type": "a type",
    "schemas.AuthorizationServer.token_endpoint": "a URL",
    "schemas.Fact.key": "of a fact",
    "schemas.Granted.svid_audience": "whom it is for",
    "schemas.JWKSet.keys": "public keys",
    "schemas.Asked.authorization": "the scheme alone",
    "schemas.ClientCredentials.token_endpoint": "a URL",
    "schemas.Admitted.svid_jti": "an id",
    "schemas.Released.credential": "its name in the vault",
    "schemas.Sealed.kek": "the name of the key that it is sealed under",
    "schemas.SAMLAssertionIDSubject.assertion_id": "an id",
    "schemas.Release.box_key": "a public key",
    "schemas.VaultCommand.box_key": "a public key",
    "streams.Edge.key": "of a fact",
    "streams.Entry.key": "of a fact",
    "streams.FactChange.key": "of a fact",
    "workers.Endpoints.token": "a URL",
    "workers.Once.key": "a digest",
    "workers.Fabric.private_upstreams": "networks",
    "workers.Cause.key": "of a fact",
    "workers.Subject.key": "of a posture",
    "workers.Said.key": "of a signal",
    "workers._Held.keys": "public keys",
    "weft.Grant.proof": "a kind",
    "weft.Grant.svid_audience": "whom it is for",
    "weft.Grant.token_type": "a type",
    "weft.Attachment.revocation_keys": "public keys",
    "weft.Entry.keys": "ids of keys",
    "weft.BundleKey.key": "a public key",
}


def test_every_field_that_holds_a_token_or_a_key_is_hidden() -> None:
    """INVARIANT: no `repr` of a model, a dataclass, a named tuple or a struct of ours shows a token, a secret, an assertion or a key.

    Broken by a new field that is shown as every other: an exception's text, a log line or a debugger's page would hold it.  What only
    sounds like one stands in `NOT_SECRET`, with the reason.
    """
    found = {f"{cls.__module__.partition('.')[0]}.{cls.__qualname__}.{name}" for cls in classes() for name in shown_secrets(cls)}
    assert sorted(found - set(NOT_SECRET)) == [], "hide the field (repr=False), or say why it is none"
    assert sorted(set(NOT_SECRET) - found) == [], "an exception for nothing"


def classes() -> Iterator[type[Any]]:
    """Every class that shows its fields."""
    for package in (schemas, streams, config, workers, weft):
        for module in modules(package):
            for cls in vars(module).values():
                if inspect.isclass(cls) and cls.__module__ == module.__name__:
                    yield cls


def modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def shown_secrets(cls: type[Any]) -> list[str]:
    return [name for name, kind in shown(cls).items() if kind is msgspec.Raw or (says_so(name) and holds_text(kind))]


def says_so(name: str) -> bool:
    words = name.removeprefix("authorization_details").split("_")
    return bool(HOLDS & {word.removesuffix("s") for word in words})


def shown(cls: type[Any]) -> Mapping[str, Any]:
    """The fields that its repr shows, with their types."""
    if issubclass(cls, BaseModel):
        return {name: field.annotation for name, field in cls.model_fields.items() if field.repr}
    if dataclasses.is_dataclass(cls):
        visible = {field.name for field in dataclasses.fields(cls) if field.repr and cls.__dataclass_params__.repr}
        return {name: kind for name, kind in hints(cls).items() if name in visible}
    if hasattr(cls, "_fields") or (issubclass(cls, msgspec.Struct) and cls.__repr__ is msgspec.Struct.__repr__):
        return hints(cls)  # a named tuple, a struct
    return {}


def hints(cls: type[Any]) -> dict[str, Any]:
    """As far as they can be resolved; else as written."""
    try:
        return get_type_hints(cls)
    except NameError:
        return dict(cls.__annotations__)


def holds_text(kind: Any) -> bool:
    """Text, bytes, or anything at all; of a mapping its values.  A class has a repr of its own, and is asked itself."""
    if isinstance(kind, str):  # not resolved
        return any(word in kind for word in ("str", "bytes", "Any"))
    if kind in (str, bytes, bytearray, Any, msgspec.Raw):
        return True
    if kind in (SecretStr, SecretBytes) or get_origin(kind) is Literal:
        return False
    arguments = get_args(kind)
    if get_origin(kind) in (dict, Mapping):
        arguments = arguments[1:]
    return any(holds_text(argument) for argument in arguments)
