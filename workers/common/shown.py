"""Where a token of another authorization server may be shown: at the resource that it is for, RFC 8707 section 3.  Pure.

Whoever registers a tool names its endpoint; the server's fact says for which resources the fabric asks there, and that is its owner's word.
So the endpoint, or the upstream behind the egress, has the origin (RFC 6454 section 4) of the resource, or one that the server's fact
lists for this resource (`also_at`).  A resource that is no URL has no origin of its own.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from schemas.facts import AuthorizationServer

_PORTS = {"https": 443, "http": 80}


def origin(url: str) -> str | None:
    """Scheme, host and port, in one spelling; none of what is no http(s) URL, or names a user."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{_PORTS[parts.scheme] if port is None else port}"


def may_be_shown(server: AuthorizationServer, resource: str, url: str) -> bool:
    """Whether a token for this resource may be sent to that URL."""
    where = origin(url)
    return where is not None and where in {origin(resource), *map(origin, server.also_at.get(resource, ()))}
