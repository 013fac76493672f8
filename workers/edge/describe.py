"""The pieces of an OpenAPI 3.1 document that every face describes itself with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


@dataclass(frozen=True, slots=True)
class Description:
    """`paths` and what of `components` they refer to."""

    paths: Mapping[str, Any]
    components: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def answer(
    description: str, schema: Mapping[str, Any], media: str = "application/json", headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """One answer.  `headers`: those it may have, and what they say."""
    said: dict[str, Any] = {"description": description, "content": {media: {"schema": schema}}}
    if headers:
        said["headers"] = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    return said


def operation(name: str, summary: str, responses: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """One operation, with what the edge answers to any: too many requests, a body where none (or none so large) is taken, or a slow one.

    `more`: `requestBody`, `parameters`, `security`; without `security` it is open to all.
    """
    limited = {"429": {"$ref": "#/components/responses/RateLimited"}, "413": {"$ref": "#/components/responses/BodyTooLarge"}}
    if "requestBody" in more:
        limited["408"] = {"$ref": "#/components/responses/BodyTooSlow"}
    return {"operationId": name, "summary": summary, "security": [], "responses": {**responses, **limited}, **more}
