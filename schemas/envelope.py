"""The envelope of everything on the wire.  CloudEvents 1.0.2 sections 3.1 and 3.2, JSON format, structured mode (NATS binding 3.2).

Signed bytes travel as strings inside `data`, kept as received.  Unknown extension attributes are ignored, as the
specification asks; `traceparent` is the distributed-tracing extension.
"""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field, StringConstraints

from schemas.base import Wire

CONTENT_TYPE = "application/cloudevents+json"

DataT = TypeVar("DataT")


class CloudEvent(Wire, Generic[DataT]):
    """One event.  `source` and `id` together are unique; consumers are idempotent by them."""

    model_config = ConfigDict(extra="ignore")

    specversion: Literal["1.0"] = "1.0"
    id: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    source: Annotated[str, StringConstraints(min_length=1, max_length=600)]
    type: Annotated[str, StringConstraints(pattern=r"^org\.weft\.[a-z0-9_.]+\.v[0-9]+$", max_length=128)]
    time: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$")]  # RFC 3339
    datacontenttype: Literal["application/json"] = "application/json"
    subject: Annotated[str, StringConstraints(min_length=1, max_length=600)] | None = None
    traceparent: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")] | None = None
    data: DataT = Field()
