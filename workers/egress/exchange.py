"""What goes to the upstream, and what of its answer comes back: headers, paths, the place of the credential.  Pure.

Of the caller's headers only the harmless go on, and those that the tool's record names: a token is bound to method, path and body, so a
header such as `X-HTTP-Method-Override` would be an action that nobody granted.  Hop-by-hop headers end here (RFC 9110 section 7.6.1).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, unquote, urlencode

from schemas.egress import Egress, Injection

Headers = list[tuple[str, str]]

HARMLESS = frozenset(
    {
        "accept",
        "accept-language",
        "content-type",
        "content-encoding",
        "content-language",
        "idempotency-key",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-unmodified-since",
        "prefer",
        "traceparent",
        "tracestate",
        "user-agent",
    }
)
NEVER_SENT = frozenset(  # whatever a record names
    {
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "dpop",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "range",  # the secret in two halves
        "te",
        "trailer",
        "transfer-encoding",
        "txn-token",
        "upgrade",
        "via",
        "accept-encoding",
    }
)
NEVER_RETURNED = frozenset(
    {
        "alt-svc",
        "authentication-info",
        "clear-site-data",
        "connection",
        "content-encoding",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-connection",
        "set-cookie",  # a session is a credential
        "set-cookie2",
        "strict-transport-security",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "weft-outcome",
        "weft-record",
        "www-authenticate",
    }
)
_PLAIN = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)+", re.ASCII)
_QUERY = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class NotPlain(Exception):
    """A path or query that two servers could read differently."""


def check_plain(path: str, query: str, injection: Injection) -> None:
    """No dot segments, empty segments, encoded slashes or control characters, however written, and no second copy of the credential's
    parameter.  Raises NotPlain.

    Servlet containers leave out what follows a `;` before they resolve dots, and some file systems the dots and spaces at a name's end:
    `..;x` and `.. ` are dot segments there, `;x` an empty one.  What is not UTF-8 is read by one server and mended by another.
    """
    if not _PLAIN.fullmatch(path) or not _QUERY.fullmatch(query) or _BAD_ESCAPE.search(path + query):
        raise NotPlain
    for segment in path[1:].split("/"):
        decoded = _decoded(segment)
        if decoded and not decoded.partition(";")[0].strip(" ."):
            raise NotPlain
        if any(char in decoded for char in "/\\%") or any(ord(char) < 0x20 or char == "\x7f" for char in decoded):
            raise NotPlain
    if "//" in path:
        raise NotPlain
    named = injection.name if injection.by == "query" else None
    if named is not None and any(name.lower() == named.lower() for name, _ in parse_qsl(query.replace(";", "&"), keep_blank_values=True)):
        raise NotPlain


def _decoded(segment: str) -> str:
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise NotPlain from None


def url_of(egress: Egress, path: str, query: str, secret: str) -> str:
    """The upstream's URL, with the credential where it belongs into the query."""
    parts = [query] if query else []
    if egress.inject.by == "query":
        parts.append(urlencode({egress.inject.name or "": secret}, quote_via=quote, safe=""))
    return egress.upstream.rstrip("/") + path + (f"?{'&'.join(parts)}" if parts else "")


def sent_headers(egress: Egress, headers: Iterable[tuple[bytes, bytes]], secret: str) -> Headers:
    """The caller's, as far as they go on, and the credential."""
    allowed = (HARMLESS | {name.lower() for name in egress.request_headers}) - NEVER_SENT
    credential = _credential(egress.inject, secret)
    given = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
    own = {name for name, _ in credential}
    return [*((name, value) for name, value in given if name in allowed and name not in own), *credential]


def _credential(inject: Injection, secret: str) -> Headers:
    match inject.by:
        case "bearer":
            return [("authorization", f"Bearer {secret}")]
        case "basic":
            return [("authorization", f"Basic {base64.b64encode(f'{inject.user}:{secret}'.encode()).decode()}")]
        case "header":
            return [(str(inject.name).lower(), f"{inject.prefix}{secret}")]
        case "query":
            return []


def returned_headers(headers: Iterable[tuple[str, str]], *, decoded: bool) -> Headers:
    """Of the answer's headers those that may go back.  What its `Connection` names is hop-by-hop too."""
    headers = list(headers)
    hops = {token.strip().lower() for name, value in headers if name == "connection" for token in value.split(",")}
    dropped = NEVER_RETURNED | hops | ({"content-length", "content-md5", "digest", "content-digest"} if decoded else set())
    return [(name, value) for name, value in headers if name not in dropped]
