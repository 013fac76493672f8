"""What another server answers, read strictly.  RFC 6749 sections 5.1 and 5.2, RFC 8693 section 2.2, RFC 8414 section 3.3.  Pure.

Nothing that a server says is repeated in a reason but an error code of the standards.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from weft.digest import unb64u
from weft.errors import Malformed
from weft.strictjson import parse_object

from schemas.facts import AuthorizationServer
from workers.common.outbound import Answer

MAX_TOKEN_CHARS = 8192
LONGEST_S = 31_536_000  # what says that it lives longer than a year is kept no longer than that
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)  # RFC 6750 section 2.1
_ERRORS = frozenset(
    (
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
        "invalid_target", "access_denied", "server_error", "temporarily_unavailable", "invalid_dpop_proof", "use_dpop_nonce",
    )
)  # fmt: skip
_ACCESS_TYPES = frozenset(f"urn:ietf:params:oauth:token-type:{name}" for name in ("access_token", "jwt"))


class AnswerRefused(Exception):
    """The server refused, or said what cannot be believed."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where to ask."""

    token: str
    revocation: str | None


@dataclass(frozen=True, slots=True)
class Obtained:
    """An access token.  `life_s`: as the server says; none where it does not."""

    token: str = field(repr=False)
    life_s: int | None
    scope: tuple[str, ...]


def metadata_urls(issuer: str) -> tuple[str, str]:
    """RFC 8414 section 3.1, and OpenID Connect Discovery section 4.1 where a server has only that."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    root = f"{parts.scheme}://{parts.netloc}"
    return f"{root}/.well-known/oauth-authorization-server{path}", f"{root}{path}/.well-known/openid-configuration"


def read_metadata(server: AuthorizationServer, answer: Answer) -> Endpoints:
    """RFC 8414 section 3.3: of this very issuer, or of none.  Raises AnswerRefused."""
    document = _object(answer, "the metadata")
    if document.get("issuer") != server.issuer:
        raise AnswerRefused("the metadata is another issuer's")
    methods = document.get("token_endpoint_auth_methods_supported", [server.auth])
    if not isinstance(methods, list) or server.auth not in methods:
        raise AnswerRefused(f"the server does not take {server.auth}")
    token, revocation = document.get("token_endpoint"), document.get("revocation_endpoint")
    if not isinstance(token, str) or not isinstance(revocation, str | None):
        raise AnswerRefused("the metadata names no token endpoint")
    if urlsplit(server.issuer).scheme == "https" and not all(url.startswith("https://") for url in (token, revocation) if url is not None):
        raise AnswerRefused("an endpoint that is not https")
    return Endpoints(token, revocation)


def read_token(answer: Answer, *, asked: Collection[str], resource: str, exchanged: bool) -> Obtained:
    """The token of a successful answer.  Raises AnswerRefused for a refusal, and for more than was asked for."""
    if answer.status != 200:
        raise AnswerRefused(_error(answer))
    said = _object(answer, "the answer")
    token, life_s = said.get("access_token"), said.get("expires_in")
    if not isinstance(token, str) or len(token) > MAX_TOKEN_CHARS or not _TOKEN.fullmatch(token):
        raise AnswerRefused("the answer holds no access token")
    if str(said.get("token_type", "")).lower() != "bearer":
        raise AnswerRefused("the token is of a type that the tool is not shown")
    if exchanged and said.get("issued_token_type") not in _ACCESS_TYPES:
        raise AnswerRefused("what was issued is no access token")
    scope = tuple(str(said.get("scope", " ".join(asked))).split())
    if not set(scope) <= set(asked):
        raise AnswerRefused("the token is for more than was asked for")
    _check_audience(token, resource)
    return Obtained(token, min(life_s, LONGEST_S) if type(life_s) is int and life_s > 0 else None, scope)


def _check_audience(token: str, resource: str) -> None:
    """Where one can read it: a token for somebody else would be shown to this tool.  Its signature is the tool's to verify."""
    parts = token.split(".")
    try:
        claims = parse_object(unb64u(parts[1]), "the token") if len(parts) == 3 else {}
    except (Malformed, ValueError):
        return  # opaque
    audience = claims.get("aud", resource)
    if resource not in (audience if isinstance(audience, list) else [audience]):
        raise AnswerRefused("the token is for another audience")


def _object(answer: Answer, what: str) -> dict[str, Any]:
    if answer.status != 200:
        raise AnswerRefused(f"{what}: status {answer.status}")
    try:
        return parse_object(answer.body, what)
    except Malformed as error:
        raise AnswerRefused(str(error)) from None


def _error(answer: Answer) -> str:
    try:
        error = parse_object(answer.body, "the error").get("error")
    except Malformed:
        error = None
    return f"{error if error in _ERRORS else 'an error'}, status {answer.status}"
