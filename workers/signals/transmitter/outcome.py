"""What a receiver's request comes to: an HTTP status, a body, and for 401 and 403 a challenge.  RFC 6750 section 3, SSF 1.0 section 8."""

from __future__ import annotations

import json
from typing import Any

from schemas.ssf import Answered

REALM = "ssf"


class Rejected(Exception):
    """A refusal; `detail` says which rule and repeats nothing of the request."""

    def __init__(self, status: int, error: str, detail: str, *, challenge: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.error = error
        self.detail = detail
        self.challenge = challenge
        self.retry_after_s = retry_after_s

    def answer(self) -> Answered:
        """As HTTP."""
        body = {"error": self.error, "error_description": self.detail}
        return Answered(status=self.status, body=json.dumps(body), challenge=self.challenge, retry_after_s=self.retry_after_s)


def bad(detail: str) -> Rejected:
    """400."""
    return Rejected(400, "invalid_request", detail)


def unknown() -> Rejected:
    """404, for a stream that is not there and for another's alike: nobody learns which."""
    return Rejected(404, "not_found", "no such stream")


def unauthenticated(detail: str | None = None) -> Rejected:
    """401.  Without a detail there was no credential at all, and the challenge carries no error code (RFC 6750 section 3.1)."""
    if detail is None:
        return Rejected(401, "unauthorized", "a bearer token is required", challenge=f'Bearer realm="{REALM}"')
    challenge = f'Bearer realm="{REALM}", error="invalid_token", error_description="{_quoted(detail)}"'
    return Rejected(401, "invalid_token", detail, challenge=challenge)


def insufficient(scope: str) -> Rejected:
    """403."""
    challenge = f'Bearer realm="{REALM}", error="insufficient_scope", scope="{scope}"'
    return Rejected(403, "insufficient_scope", f"the scope {scope} is needed", challenge=challenge)


def in_query() -> Rejected:
    """400: a token in the URI ends up in logs, and is never looked at."""
    challenge = f'Bearer realm="{REALM}", error="invalid_request"'
    return Rejected(400, "invalid_request", "a token in the query is not accepted: use the Authorization header", challenge=challenge)


def ok(body: Any, status: int = 200) -> Answered:
    """A JSON body."""
    return Answered(status=status, body=json.dumps(body))


def empty(status: int = 204) -> Answered:
    """No body."""
    return Answered(status=status)


def _quoted(text: str) -> str:
    return "".join(char for char in text if " " <= char <= "~" and char not in '"\\')
