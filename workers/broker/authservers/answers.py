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
UNLISTED = ("spiffe_jwt",)  # a draft's: Keycloak takes it and names it nowhere; who does not says `invalid_client`
_ACCESS_TYPES = frozenset(f"urn:ietf:params:oauth:token-type:{name}" for name in ("access_token", "jwt"))


class AnswerRefused(Exception):
    """The server refused, or said what cannot be believed.  `issued`: a token that it issued all the same, to be taken back."""

    def __init__(self, text: str, issued: str | None = None) -> None:
        super().__init__(text)
        self.issued = issued


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
    """RFC 8414 section 3.3: of this very issuer, or of none; for a client certificate the endpoints that ask for one (RFC 8705 section 5).

    Raises AnswerRefused.
    """
    document = _object(answer, "the metadata")
    if document.get("issuer") != server.issuer:
        raise AnswerRefused("the metadata is another issuer's")
    methods = document.get("token_endpoint_auth_methods_supported", [server.auth])
    if server.auth not in UNLISTED and (not isinstance(methods, list) or server.auth not in methods):
        raise AnswerRefused(f"the server does not take {server.auth}")
    aliases = document.get("mtls_endpoint_aliases", {}) if server.auth == "tls_client_auth" else {}
    if not isinstance(aliases, dict):
        raise AnswerRefused("mtls_endpoint_aliases is no object")
    token, revocation = (aliases.get(name, document.get(name)) for name in ("token_endpoint", "revocation_endpoint"))
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
    scope = tuple(str(said.get("scope", " ".join(asked))).split())
    fault = _fault(said, scope, asked, exchanged=exchanged) or _audience_fault(token, resource)
    if fault is not None:
        raise AnswerRefused(fault, token)
    return Obtained(token, min(life_s, LONGEST_S) if type(life_s) is int and life_s > 0 else None, scope)


def _fault(said: dict[str, Any], scope: tuple[str, ...], asked: Collection[str], *, exchanged: bool) -> str | None:
    if str(said.get("token_type", "")).lower() != "bearer":
        return "the token is of a type that the tool is not shown"
    if exchanged and said.get("issued_token_type") not in _ACCESS_TYPES:
        return "what was issued is no access token"
    return None if set(scope) <= set(asked) else "the token is for more than was asked for"


def _audience_fault(token: str, resource: str) -> str | None:
    """Where one can read it: a token for somebody else would be shown to this tool, and one for nobody in particular (RFC 9068 section 2.2
    wants `aud`) could be shown by this tool to others.  Its signature is the tool's to verify.
    """
    parts = token.split(".")
    try:
        claims = parse_object(unb64u(parts[1]), "the token") if len(parts) == 3 else None
    except (Malformed, ValueError):
        claims = None
    if claims is None:
        return None  # opaque
    audience = claims.get("aud")
    if audience is None:
        return "the token does not say for whom it is"
    return None if resource in (audience if isinstance(audience, list) else [audience]) else "the token is for another audience"


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
