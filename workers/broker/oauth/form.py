"""From a form to a request.  RFC 6749 section 3.2, RFC 8693 section 2.1, RFC 8707 section 2, and the Transaction Token draft.

A parameter without a value counts as absent, an unknown one is ignored, none occurs twice but `resource` and `audience`.  Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from pydantic import TypeAdapter, ValidationError
from weft.errors import Malformed
from weft.strictjson import parse_object

from schemas.clients import TOKEN_EXCHANGE, TOKEN_TYPE, Resource, SubjectType
from schemas.exchange import MAX_SCOPES
from schemas.reasons import DenyReason
from workers.broker.oauth.refusals import OAuthRefused

TXN_TOKEN = f"{TOKEN_TYPE}txn_token"
MAX_DETAILS_BYTES = 2048  # of request_details and of request_context: a token holds 4 KiB
MAX_DEPTH = 8
_REPEATABLE = frozenset(("resource", "audience"))
_CODE = re.compile(r"[a-z][a-z0-9._:-]{0,63}", re.ASCII)
_RESOURCE: TypeAdapter[str] = TypeAdapter(Resource)


class Form:
    """The parameters, each read once."""

    def __init__(self, parameters: Iterable[tuple[str, str]]) -> None:
        """Raises OAuthRefused where one occurs twice that may not."""
        self._values: dict[str, list[str]] = {}
        for name, value in parameters:
            if value == "":
                continue
            held = self._values.setdefault(name, [])
            if held and name not in _REPEATABLE:
                raise OAuthRefused("invalid_request", "a parameter occurs twice")
            held.append(value)

    def get(self, name: str) -> str | None:
        """Its value, if it is there."""
        held = self._values.get(name)
        return held[0] if held else None

    def all(self, name: str) -> tuple[str, ...]:
        """All its values, each once."""
        return tuple(dict.fromkeys(self._values.get(name, ())))

    def need(self, name: str) -> str:
        """Raises OAuthRefused where it is absent."""
        value = self.get(name)
        if value is None:
            raise OAuthRefused("invalid_request", f"{name} is missing")
        return value

    def plain(self) -> dict[str, list[str]]:
        """For a digest."""
        return self._values


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """RFC 6749 section 4.4.2 with RFC 8707."""

    scope: tuple[str, ...]
    resources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """RFC 8693 section 2.1 for a Transaction Token.  `resource` names the tool to call, where one is to be called."""

    subject_token: str = field(repr=False)
    subject_type: SubjectType
    scope: tuple[str, ...]
    resource: str | None
    details: dict[str, Any]
    context: dict[str, Any]


TokenRequest = ClientCredentials | Exchange


def read_token_request(form: Form, trust_domain: str) -> TokenRequest:
    """What is asked for.  Raises OAuthRefused."""
    grant = form.need("grant_type")
    if grant == "client_credentials":
        return ClientCredentials(read_scope(form.get("scope")), _resources(form) + _audiences(form))
    if grant == TOKEN_EXCHANGE:
        return _exchange(form, trust_domain)
    raise OAuthRefused("unsupported_grant_type", "client_credentials or token exchange")


def read_scope(text: str | None) -> tuple[str, ...]:
    """RFC 6749 section 3.3: tokens separated by one space.  A `*` is a pattern and never a scope."""
    if text is None:
        return ()
    codes = tuple(dict.fromkeys(text.split(" ")))
    if len(codes) > MAX_SCOPES or not all(_CODE.fullmatch(code) for code in codes):
        raise OAuthRefused("invalid_scope", "not scopes of this fabric, separated by single spaces", DenyReason.OUT_OF_CEILING)
    return codes


def _exchange(form: Form, trust_domain: str) -> Exchange:
    """1. Which token is asked for.  2. No actor but the client.  3. The trust domain.  4. At most one tool.  5. The subject token."""
    if form.need("requested_token_type") != TXN_TOKEN:  # 1
        raise OAuthRefused("invalid_request", f"requested_token_type is {TXN_TOKEN}")
    if form.get("actor_token") is not None or form.get("actor_token_type") is not None:  # 2
        raise OAuthRefused("invalid_request", "the actor is the authenticated client: no actor_token is taken")
    if form.all("audience") != (trust_domain,):  # 3
        raise OAuthRefused("invalid_target", "audience is this trust domain, and nothing besides", DenyReason.RESOURCE_NOT_ALLOWED)
    resources = _resources(form)
    if len(resources) > 1:  # 4
        raise OAuthRefused("invalid_target", "a token is for one tool", DenyReason.RESOURCE_NOT_ALLOWED)
    return Exchange(
        subject_token=form.need("subject_token"),
        subject_type=_subject_type(form.need("subject_token_type")),  # 5
        scope=_needed_scope(form),
        resource=resources[0] if resources else None,
        details=_json(form, "request_details"),
        context=_json(form, "request_context"),
    )


def _needed_scope(form: Form) -> tuple[str, ...]:
    scope = read_scope(form.get("scope"))
    if not scope:
        raise OAuthRefused("invalid_scope", "scope says what the transaction is for", DenyReason.OUT_OF_CEILING)
    return scope


def _subject_type(urn: str) -> SubjectType:
    name = urn.removeprefix(TOKEN_TYPE)
    if not urn.startswith(TOKEN_TYPE) or name not in get_args(SubjectType):  # a refresh token among them: never a subject token here
        raise OAuthRefused("invalid_request", "not a type of subject token that is taken", DenyReason.SUBJECT_TYPE_NOT_ALLOWED)
    return cast("SubjectType", name)


def _resources(form: Form) -> tuple[str, ...]:
    resources = form.all("resource")
    try:
        return tuple(_RESOURCE.validate_python(resource) for resource in resources)
    except ValidationError:
        raise OAuthRefused("invalid_target", "resource is an absolute URI without a fragment", DenyReason.RESOURCE_NOT_ALLOWED) from None


def _audiences(form: Form) -> tuple[str, ...]:
    """RFC 8693's `audience` is no parameter of this grant; who sends one means a target, and is told where it is not one."""
    audiences = form.all("audience")
    if any(len(audience) > 512 for audience in audiences):
        raise OAuthRefused("invalid_target", "not a target", DenyReason.RESOURCE_NOT_ALLOWED)
    return audiences


def _json(form: Form, name: str) -> dict[str, Any]:
    """A JSON object as it stands in the form: base64url was taken out of the draft after -06."""
    text = form.get(name)
    if text is None:
        return {}
    if len(text.encode()) > MAX_DETAILS_BYTES:
        raise OAuthRefused("invalid_request", f"{name} is longer than {MAX_DETAILS_BYTES} bytes", DenyReason.TOO_LARGE)
    try:
        value = parse_object(text.encode(), name)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text that could be signed
    except (Malformed, UnicodeEncodeError):
        raise OAuthRefused("invalid_request", f"{name} is not a JSON object without duplicate names") from None
    if _depth(value) > MAX_DEPTH:
        raise OAuthRefused("invalid_request", f"{name} is nested deeper than {MAX_DEPTH}")
    return value


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)
