"""Who acts, in tokens: `act` and `may_act`.  RFC 8693 sections 4.1 and 4.4; `iss` and `sub_profile` as in
draft-mcguinness-oauth-actor-profile-00.  Identity alone: `exp`, `nbf` or `aud` of an actor mean nothing, and are taken from nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import StringConstraints

from schemas.base import InstanceID, Wire

PartyName = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,512}$")]
Profile = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}( [a-z_]{1,32}){0,3}$")]
AGENT, SERVICE = "ai_agent", "service"


class ActorClaim(Wire):
    """Who acts now; nested, who acted before, for information alone (RFC 8693 section 4.1)."""

    sub: PartyName
    iss: PartyName | None = None  # whose name `sub` is; of who acted before, absent: the token's own issuer's
    sub_profile: Profile | None = None
    instance: InstanceID | None = None
    jti: str | None = None  # of who acted before, the token it acted under; of who acts now, its actor token, where that has one
    act: ActorClaim | None = None

    def line(self) -> Iterator[ActorClaim]:
        """Itself, and everyone who acted before, the latest first."""
        actor: ActorClaim | None = self
        while actor is not None:
            yield actor
            actor = actor.act


class Named(Wire):
    """`may_act`: who may act for the subject."""

    sub: PartyName
    iss: PartyName | None = None  # whose name it is; absent: the subject token's issuer's
