"""From a form to a request.  RFC 6749 section 3.2, RFC 8693 section 2.1, RFC 8707 section 2, RFC 9396 section 6, and the Transaction
Token draft.

A parameter without a value counts as absent, an unknown one is ignored, none occurs twice but `resource` and `audience`.  Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, cast, get_args

from pydantic import Field, TypeAdapter, ValidationError
from weft.errors import Malformed
from weft.strictjson import parse_object, parse_spelled

from schemas.clients import TOKEN_EXCHANGE, TOKEN_TYPE, ActorType, IssuedType, Resource, SubjectType
from schemas.exchange import MAX_SCOPES
from schemas.reasons import DenyReason
from schemas.token import MAX_DETAILS, AuthorizationDetail
from workers.broker.oauth.refusals import OAuthRefused

TXN_TOKEN = f"{TOKEN_TYPE}txn_token"
MAX_DETAILS_BYTES = 2048  # of request_details and of request_context: a token holds 4 KiB
MAX_DEPTH = 8
_REPEATABLE = frozenset(("resource", "audience"))
_CODE = re.compile(r"[a-z][a-z0-9._:-]{0,63}", re.ASCII)
_RESOURCE: TypeAdapter[str] = TypeAdapter(Resource)
_DETAILS: TypeAdapter[tuple[AuthorizationDetail, ...]] = TypeAdapter(
    Annotated[tuple[AuthorizationDetail, ...], Field(min_length=1, max_length=MAX_DETAILS)]
)


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
class ActorToken:
    """RFC 8693 section 2.1: who acts, unless the client itself does."""

    token: str = field(repr=False)
    type: ActorType


@dataclass(frozen=True, slots=True)
class Exchange:
    """RFC 8693 section 2.1.  `targets` are what the token is for: of a Transaction Token, the tool to call, where one is to be called."""

    requested: IssuedType
    subject_token: str = field(repr=False)
    subject_type: SubjectType
    scope: tuple[str, ...]
    targets: tuple[str, ...]
    details: dict[str, Any]
    context: dict[str, Any]
    actor: ActorToken | None = None
    authorization_details: tuple[AuthorizationDetail, ...] | None = None


TokenRequest = ClientCredentials | Exchange


def read_token_request(form: Form, trust_domain: str) -> TokenRequest:
    """What is asked for.  Raises OAuthRefused."""
    grant = form.need("grant_type")
    if grant == "client_credentials":
        if form.get("authorization_details") is not None:  # RFC 9396 section 5: what is not understood is refused, not left out
            raise OAuthRefused("invalid_authorization_details", "only a call of a tool has them", DenyReason.DETAILS_NOT_ALLOWED)
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
    """1. Which token is asked for.  2. Who acts.  3. What it is for.  4. The subject token."""
    requested = _issued_type(form.get("requested_token_type"))  # 1
    return Exchange(
        requested=requested,
        actor=_actor(form),  # 2
        targets=_tools(form, trust_domain) if requested == "txn_token" else _targets(form),  # 3
        subject_token=form.need("subject_token"),
        subject_type=_subject_type(form.need("subject_token_type")),  # 4
        scope=_needed_scope(form),
        details=_json(form, "request_details"),
        context=_json(form, "request_context"),
        authorization_details=_authorization_details(form),
    )


def _issued_type(urn: str | None) -> IssuedType:
    """Absent, an access token: the draft has a Transaction Token asked for by name, and other clients know no other."""
    name = (urn or f"{TOKEN_TYPE}access_token").removeprefix(TOKEN_TYPE)
    if (urn is not None and not urn.startswith(TOKEN_TYPE)) or name not in get_args(IssuedType):
        raise OAuthRefused("invalid_request", "requested_token_type is txn_token or access_token")
    return cast("IssuedType", name)


def _actor(form: Form) -> ActorToken | None:
    """RFC 8693 section 2.1: the type is there if the token is, and MUST NOT be otherwise."""
    token, urn = form.get("actor_token"), form.get("actor_token_type")
    if token is None and urn is None:
        return None
    if token is None or urn is None:
        raise OAuthRefused("invalid_request", "actor_token and actor_token_type belong together", DenyReason.ACTOR_TOKEN_INVALID)
    name = urn.removeprefix(TOKEN_TYPE)
    if not urn.startswith(TOKEN_TYPE) or name not in get_args(ActorType):  # an id_token among them: no person acts for another here
        raise OAuthRefused("invalid_request", "not a type of actor token that is taken", DenyReason.ACTOR_TOKEN_INVALID)
    return ActorToken(token, cast("ActorType", name))


def _tools(form: Form, trust_domain: str) -> tuple[str, ...]:
    if form.all("audience") != (trust_domain,):
        raise OAuthRefused("invalid_target", "audience is this trust domain, and nothing besides", DenyReason.RESOURCE_NOT_ALLOWED)
    tools = _resources(form)
    if len(tools) > 1:
        raise OAuthRefused("invalid_target", "a token is for one tool", DenyReason.RESOURCE_NOT_ALLOWED)
    return tools


def _targets(form: Form) -> tuple[str, ...]:
    """RFC 9068 section 3 would have a default where none is named; here a client says whom it means to show a person's token."""
    targets = tuple(dict.fromkeys(_resources(form) + _audiences(form)))
    if not targets:
        raise OAuthRefused("invalid_target", "resource says what the access token is for", DenyReason.RESOURCE_NOT_ALLOWED)
    return targets


def _authorization_details(form: Form) -> tuple[AuthorizationDetail, ...] | None:
    """RFC 9396 section 2: a JSON array of objects; section 5: what is not understood is refused."""
    text = form.get("authorization_details")
    if text is None:
        return None
    try:
        raw = text.encode()
        parse_spelled(raw[: MAX_DETAILS_BYTES + 1], "authorization_details")  # no member twice; what is cut off does not parse
        return _DETAILS.validate_json(raw)
    except (Malformed, ValueError):
        detail = f"1 to {MAX_DETAILS} objects of a known form, {MAX_DETAILS_BYTES} bytes"
        raise OAuthRefused("invalid_authorization_details", detail, DenyReason.DETAILS_NOT_ALLOWED) from None


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
