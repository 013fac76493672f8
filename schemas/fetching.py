"""HTTP requests that a worker of FABRIC has the edge make (`weft.edge.fetch`): the edge faces networks, FABRIC does not.

Bodies are text, since all that is asked for so is JSON, forms and compact JWS.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import Wire

FETCH = "org.weft.edge.fetch.v1"
FETCHED = "org.weft.edge.fetched.v1"

MAX_BODY_CHARS = 131_072
LONGEST_S = 9.0  # an answer has to be given within the ten seconds for which the edge may respond
Header = tuple[
    Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")], Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{0,4096}$")]
]


class Fetch(Wire):
    """`data` of `FETCH`.  `use`: whose address it is, which decides what of the networks that are not global it may reach.

    `metadata` is documents of clients and tools (they name their URLs themselves), `receivers` where signals are pushed to (a client of
    ours names it), `transmitters` what a registrar wrote of a transmitter, its keys, its API and its authorization server.
    """

    use: Literal["metadata", "receivers", "transmitters"]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    url: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    headers: tuple[Header, ...] = Field(default=(), repr=False)  # may hold credentials
    body: Annotated[str, StringConstraints(max_length=MAX_BODY_CHARS)] = Field(default="", repr=False)
    deadline_s: Annotated[float, Field(gt=0, le=LONGEST_S)] = 5.0
    max_bytes: Annotated[int, Field(gt=0, le=MAX_BODY_CHARS)] = 65_536


class Fetched(Wire):
    """`data` of `FETCHED`: an answer, whatever its status, or why there is none."""

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()  # names in lower case
    body: str = Field(default="", repr=False)
    refused: str | None = None  # the URL or the address it stands for may not be called; nothing was sent
    failed: Literal["unreachable", "tls", "timeout", "too_large", "protocol", "not_text"] | None = None
