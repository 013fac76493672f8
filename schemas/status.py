"""Status lists (draft-ietf-oauth-status-list-20): a token gets an entry before it is minted, and the edge asks for the signed list.

`revocation` answers both.  What it keeps of a token are digests, its counter and its end, on CLAIMS, created if absent: so no entry of a
list is ever given twice, whichever copy gives it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from schemas.base import Seconds, Sequence, TargetDigest, Wire

WANTED = "org.weft.status.wanted.v1"
GIVEN = "org.weft.status.given.v1"  # answers it
ALLOCATED = "org.weft.status.allocated.v1"  # what CLAIMS holds
LIST_ASKED = "org.weft.status.list.asked.v1"
LIST_ANSWERED = "org.weft.status.list.answered.v1"

PERIOD_S = 300  # a list takes tokens for so long, and is named after that period: which one of all since the epoch

ListID = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,12}$")]


class Allocated(Wire):
    """A token, as far as its status needs it."""

    targets: Annotated[tuple[TargetDigest, ...], Field(min_length=1, max_length=128)]  # whose revocation ends it
    rev: Sequence  # the counter it is minted at
    exp: Seconds


class Given(Wire):
    """The entry: the `status_list` member of the token's `status`."""

    idx: Annotated[int, Field(ge=0)]
    uri: str


class ListAsked(Wire):
    """`data` of `LIST_ASKED`."""

    list: ListID


class ListAnswered(Wire):
    """`data` of `LIST_ANSWERED`: the Status List Token, signed just now or still current."""

    token: str = Field(repr=False)
    max_age_s: int  # how long a cache may go on serving it
