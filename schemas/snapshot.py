"""A signed snapshot of what is revoked, for a guard that starts while very many entries are kept.

`weft.snapshot` (the SDK) says how it is built and what it proves.  A guard asks for the manifest, then for each chunk; every copy hears,
and the one that holds that snapshot answers.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from schemas.base import Digest, Wire

ASKED = "org.weft.snapshot.asked.v1"
ANSWERED = "org.weft.snapshot.answered.v1"


class SnapshotAsked(Wire):
    """Nothing: the manifest.  `id` and `chunk`: that chunk of that snapshot."""

    id: Digest | None = None
    chunk: Annotated[int, Field(ge=0)] = 0


class SnapshotAnswered(Wire):
    """One of the two; neither where there is so little that the stream itself is quicker."""

    manifest: Annotated[str, StringConstraints(max_length=32_768)] | None = None  # compact JWS
    chunk: Annotated[str, StringConstraints(max_length=200_000)] | None = None  # base64url
