"""What a tool's protected resource metadata says.  RFC 9728 sections 2, 3.1 and 3.3.  Pure.

1. The resource is an https URL; its document stands at the well-known address between host and path.  2. The answer is JSON, of at most
5 KiB.  3. `resource` is the tool's, character by character.  4. If it names authorization servers, this fabric is one: else it takes no
token of ours.  It may ask for more than the tool's record does (a proof, say), and never for less.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from schemas.cimd import ResolvedTool
from schemas.facts import Tool
from workers.registry.cimd.document import DocumentRefused, read_json

WELL_KNOWN = "/.well-known/oauth-protected-resource"


def metadata_url(resource: str) -> str:
    """Step 1.  Raises DocumentRefused."""
    parts = urlsplit(resource)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None or "#" in resource:
        raise DocumentRefused("the tool's resource is no https URL that metadata could stand at")
    path = "" if parts.path == "/" else parts.path
    return f"https://{parts.netloc}{WELL_KNOWN}{path}" + (f"?{parts.query}" if parts.query else "")


def read_resource(tool: Tool, body: bytes, media_type: str, *, issuer: str, digest: str) -> ResolvedTool:
    """Steps 2 to 4.  Raises DocumentRefused."""
    document = read_json(body, media_type)
    if document.get("resource") != tool.resource:
        raise DocumentRefused("resource is not the one that the tool is registered with")
    servers = document.get("authorization_servers")
    if servers is not None and not (isinstance(servers, list) and issuer in servers):
        raise DocumentRefused(f"it takes no tokens of {issuer}: authorization_servers does not name it")
    return ResolvedTool(
        tool=tool.name,
        resource=tool.resource,
        document=digest,
        name=_text(document.get("resource_name", ""))[:128],
        proof="dpop" if document.get("dpop_bound_access_tokens_required") is True else None,
        authorization_details=_types(document.get("authorization_details_types_supported")),
        accepted=tool.document,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise DocumentRefused("resource_name is not text")
    return value


def _types(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) and 0 < len(name) <= 128 for name in value):
        raise DocumentRefused("authorization_details_types_supported is not a list of names")
    return tuple(value)
