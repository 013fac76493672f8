"""A stream of ours at a transmitter of others: what an operator asks for.  SSF 1.0 section 8.1.1, RFC 8935, RFC 8936.

What the transmitter answers (`stream_id`, the endpoint to poll) stands nowhere but there: it is read again whenever it is needed.
Secrets are files of the worker's (`keys/subscriptions/<name>`, mode 0600); no fact holds one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from schemas.base import Name, Wire

HTTPSURL = Annotated[str, StringConstraints(pattern=r"^https?://[^\s#]+$", max_length=1024)]
EventURI = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.-]*:[^\s]+$", max_length=256)]


class StaticToken(Wire):
    """A bearer token that the transmitter's operator gave ours; the file holds it."""

    method: Literal["static"]


class ClientCredentials(Wire):
    """RFC 6749 section 4.4, at the transmitter's authorization server.  CAEP Interop asks for these scopes.

    `private_key_jwt` (RFC 7523) signs with the signals key, whose public half is at our `/ssf/jwks.json`; the others read the file.
    """

    method: Literal["client_credentials"]
    token_endpoint: HTTPSURL
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    client_auth: Literal["private_key_jwt", "client_secret_basic", "client_secret_post"] = "private_key_jwt"
    scope: str | None = "ssf.manage ssf.read"
    audience: Annotated[str, StringConstraints(max_length=512)] | None = None  # of the client assertion; none: the token endpoint


class SubscriptionRule(Wire):
    """What we want of one transmitter."""

    name: Name
    iss: Annotated[str, StringConstraints(min_length=1, max_length=512)]  # of a transmitter among the facts
    delivery: Literal["push", "poll"] = "poll"
    events: Annotated[tuple[EventURI, ...], Field(min_length=1, max_length=100)]
    subjects: Annotated[tuple[dict[str, Any], ...], Field(max_length=1000)] = ()  # added where the transmitter starts with none
    authorization: Annotated[StaticToken | ClientCredentials, Field(discriminator="method")]
    state: Literal["active", "suspended"] = "active"
